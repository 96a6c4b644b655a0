// Evaluates JSONata with the reference implementation. Reads one JSON object per line and writes one line for each.
//
//   {expression}            -> {variables, functions}: the names that the expression expects from outside, and those of
//                              them that are built-in functions unless a variable hides them
//   {expression, bindings}  -> {value}, or {} if the result is undefined, or {error}
import { createInterface } from "node:readline";
import jsonata from "../../node_modules/jsonata/jsonata.js";

const compiled = new Map();

async function compile(text) {
  if (!compiled.has(text)) {
    const expression = jsonata(text);
    // Step Functions has $parse instead of $eval. Its other own functions are missing here, so their use is an error.
    expression.registerFunction("parse", (json) => JSON.parse(json), "<s:x>");
    expression.assign("eval", undefined);
    const variables = names(expression.ast());
    const functions = [];
    for (const name of variables) {
      if (name === "parse" || (name !== "eval" && (await jsonata(`$exists($${name})`).evaluate()))) functions.push(name);
    }
    compiled.set(text, { expression, variables, functions });
  }
  return compiled.get(text);
}

function names(tree) {
  const used = new Set();
  const local = new Set(["", "$"]);
  const walk = (node) => {
    if (node === null || typeof node !== "object") return;
    if (node.type === "variable") used.add(node.value);
    if (node.type === "bind") local.add(node.lhs.value);
    if (node.type === "lambda") node.arguments.forEach((argument) => local.add(argument.value));
    Object.values(node).forEach(walk);
  };
  walk(tree);
  return [...used].filter((name) => !local.has(name));
}

function assertJson(_, value) {
  const isFunction = typeof value === "function" || value?._jsonata_function || value?._jsonata_lambda;
  if (isFunction || (typeof value === "number" && !Number.isFinite(value))) throw new TypeError("the result is not JSON");
  return value;
}

async function answer({ expression: text, bindings }) {
  try {
    const { expression, variables, functions } = await compile(text);
    if (bindings === undefined) return JSON.stringify({ variables, functions });
    const unknown = variables.filter((name) => !functions.includes(name) && !Object.hasOwn(bindings, name));
    if (unknown.length) return JSON.stringify({ error: `nothing assigns $${unknown.join(", $")}` });
    return JSON.stringify({ value: await expression.evaluate(undefined, bindings) }, assertJson);
  } catch (error) {
    return JSON.stringify({ error: `${error.code ?? error.name}: ${error.message}` });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write((await answer(JSON.parse(line))) + "\n");
}
