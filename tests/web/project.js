// Fresh projects with the packed package installed, as its users have them.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const COMPILER = join(HERE, "../../wasm/npm/node_modules/.bin/tsc");

/** What tests/all/npm.rs says: the folder of fixtures, and the packed package. */
export const FIXTURES = required("QUAVER_FIXTURES");
export const TARBALL = required("QUAVER_TARBALL");

/** A project with the files of a folder here (if one is named), and the package from its tarball. */
export function project(template) {
  const folder = mkdtempSync(join(tmpdir(), "quaver-npm-"));
  if (template !== undefined) {
    cpSync(join(HERE, template), folder, { recursive: true });
    cpSync(join(HERE, "cases.js"), join(folder, "cases.js"));
  }
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
  // The package has no dependencies, so this needs no network.
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", "--silent", TARBALL], { cwd: folder });
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, "node_modules/quaver/package.json"), "utf8"));
  if (Object.keys(dependencies).length > 0) {
    throw new Error("the package has dependencies");
  }
  return { folder, dist: join(folder, "node_modules/quaver/dist"), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Compiles a project's TypeScript, the package's types included. */
export function compile(folder) {
  const { status, stdout, stderr } = spawnSync(COMPILER, ["--project", "tsconfig.json"], { cwd: folder, encoding: "utf8" });
  if (status !== 0) {
    throw new Error(`the compiler finds fault:\n${stdout}${stderr}`);
  }
}

/** Writes files into a folder of a project. */
export function write(folder, files) {
  mkdirSync(folder, { recursive: true });
  Object.entries(files).forEach(([name, text]) => writeFileSync(join(folder, name), text));
}

function required(name) {
  const value = process.env[name];
  if (value === undefined) {
    throw new Error(`${name} is not set; these tests are run by \`cargo test -p quaver-tests npm\``);
  }
  return value;
}
