// What transformers.js writes on: node transformers_write.mjs FOLDER TEXTS DTYPE, in a folder with node_modules.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const installed = createRequire(path.join(process.cwd(), "package.json"));
const { AutoModelForCausalLM, AutoTokenizer, env } = await import(
  pathToFileURL(installed.resolve("@huggingface/transformers"))
);
const [folder, texts] = [path.resolve(process.argv[2]), JSON.parse(process.argv[3])];
env.allowRemoteModels = false;
env.localModelPath = path.dirname(folder) + "/";
const model = await AutoModelForCausalLM.from_pretrained(path.basename(folder), { dtype: "fp32", subfolder: "" });
const tokenizer = await AutoTokenizer.from_pretrained(path.basename(folder));
const written = [];
for (const text of texts) {
  const made = await model.generate({ ...(await tokenizer(text)), do_sample: false, max_new_tokens: 24 });
  written.push(made.tolist()[0].map(Number));
}
console.log(JSON.stringify(written));
