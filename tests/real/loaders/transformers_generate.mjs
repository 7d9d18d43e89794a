// Greedy answers of transformers.js: node transformers_generate.mjs FOLDER TEXTS, in a folder with node_modules.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const installed = createRequire(path.join(process.cwd(), "package.json"));
const { AutoModelForSeq2SeqLM, AutoTokenizer, env } = await import(
  pathToFileURL(installed.resolve("@huggingface/transformers"))
);
const [folder, texts] = [path.resolve(process.argv[2]), JSON.parse(process.argv[3])];
env.allowRemoteModels = false;
env.localModelPath = path.dirname(folder) + "/";
const model = await AutoModelForSeq2SeqLM.from_pretrained(path.basename(folder), { dtype: "fp32" });
const tokenizer = await AutoTokenizer.from_pretrained(path.basename(folder));
const answers = [];
for (const text of texts) {
  const made = await model.generate({ ...(await tokenizer(text)), do_sample: false, num_beams: 1 });
  answers.push(made.tolist()[0].map(Number).slice(1));
}
console.log(JSON.stringify(answers));
