// Validates custom resources, one JSON array on stdin, with the models made from the projects' own definitions: values
// by their schemas, and unknown fields by TypeScript, which refuses them in literals. Prints one line for each fault.
//   node validate.mjs FOLDER-OF-NODE_MODULES < objects.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const require = createRequire(pathToFileURL(join(folder, "package.json")));
const ts = require("typescript");
const packages = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};

const objects = JSON.parse(readFileSync(0, "utf8"));
const lines = [];
for (const [index, object] of objects.entries()) {
  const label = `${object.kind} ${object.metadata.name}`;
  const project = packages[object.apiVersion.split("/")[0]];
  if (!project) {
    console.log(`${label}: no schema of ${object.apiVersion}`);
    continue;
  }
  const module = `@kubernetes-models/${project}/${object.apiVersion}/${object.kind}`;
  const model = (await import(pathToFileURL(join(folder, "node_modules", `${module}.js`))))[object.kind];
  try {
    new model(object).validate();
  } catch (error) {
    console.log(`${label}: ${error.message}`);
  }
  lines.push(`import type { I${object.kind} as T${index} } from "${module}";`);
  lines.push(`export const o${index}: T${index} = ${JSON.stringify(object)};`);
}

const source = join(folder, "objects.ts");
const options = {
  module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, noEmit: true, strict: true,
  skipLibCheck: true, target: ts.ScriptTarget.ES2022, types: [],
};
const host = ts.createCompilerHost(options);
const read = host.getSourceFile.bind(host);
const text = lines.join("\n");
host.getSourceFile = (name, ...rest) =>
  name === source ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true) : read(name, ...rest);
const exists = host.fileExists.bind(host);
host.fileExists = (name) => name === source || exists(name);
const program = ts.createProgram([source], options, host);
for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
  const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, " ");
  const line = diagnostic.file ? diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start).line : -1;
  const index = /^export const o(\d+)/.exec(text.split("\n")[line] ?? "")?.[1];
  const object = index === undefined ? null : objects[index];
  console.log(`${object ? `${object.kind} ${object.metadata.name}` : "?"}: ${message}`);
}
