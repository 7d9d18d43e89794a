"""Greedy answers of optimum's ORTModelForSeq2SeqLM: python optimum_generate.py FOLDER IDS, both JSON."""

import json
import sys

import torch
from optimum.onnxruntime import ORTModelForSeq2SeqLM

model = ORTModelForSeq2SeqLM.from_pretrained(sys.argv[1])
answers = []
for ids in json.loads(sys.argv[2]):
    x = torch.tensor([ids])
    made = model.generate(input_ids=x, attention_mask=torch.ones_like(x), do_sample=False, num_beams=1)
    answers.append(made[0, 1:].tolist())
print(json.dumps(answers))
