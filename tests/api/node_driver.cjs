// Calls node-appwrite for each JSON line of its input, and prints one JSON line with each answer. argv: the SDK's
// folder, endpoint, project, kind of credential (key, session, jwt or none), credential.
const { createInterface } = require("node:readline");
const { createRequire } = require("node:module");

const [folder, endpoint, project, kind, credential] = process.argv.slice(2);
const load = createRequire(`${folder}/package.json`);
const sdk = load("node-appwrite");
const { InputFile } = load("node-appwrite/file");
const client = new sdk.Client().setEndpoint(endpoint).setProject(project);
const setters = { key: "setKey", session: "setSession", jwt: "setJWT" };
if (kind !== "none") client[setters[kind]](credential);
const of = (service) => new sdk[service[0].toUpperCase() + service.slice(1)](client);

const given = (value) =>
  value && value.$file ? InputFile.fromPath(value.$file, value.$file.split("/").at(-1)) : value;
const plain = (value) => (value instanceof ArrayBuffer ? { $bytes: Buffer.from(value).toString("hex") } : value);

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { method, sent } = JSON.parse(line);
  const named = Object.fromEntries(
    Object.entries(sent).map(([name, value]) => [name === "path" ? "xpath" : name, given(value)]),
  );
  const [service, operation] = method.includes(".") ? method.split(".") : ["functions", method];
  let answer;
  try {
    const asked = of(service);
    const value = Object.keys(named).length ? await asked[operation](named) : await asked[operation]();
    answer = { value: plain(value) };
  } catch (error) {
    answer = { error: String(error.message), code: error.code ?? null, type: error.type || error.name };
  }
  process.stdout.write(JSON.stringify(answer, (_, value) => (typeof value === "bigint" ? Number(value) : value)) + "\n");
});
