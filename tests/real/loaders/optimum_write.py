"""What optimum's ORTModelForCausalLM writes on: python optimum_write.py FOLDER TEXTS"""

import json
import sys

from optimum.onnxruntime import ORTModelForCausalLM
from transformers import AutoTokenizer

folder, texts = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = ORTModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
written = []
for text in texts:
    made = model.generate(**tokenizer(text, return_tensors="pt"), do_sample=False, num_beams=1, max_new_tokens=24)
    written.append(made[0].tolist())
print(json.dumps(written))
