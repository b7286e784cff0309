'use strict';
// Loads a deployment's entrypoint once, for the first request.

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

// Error codes of `require` for modules that only `import()` can load.
const IMPORT_ONLY = new Set(['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE', 'ERR_REQUIRE_CYCLE_MODULE']);

/** The entrypoint cannot be used; the message is logged in the execution's errors. */
class NotLoaded extends Error {}

/** The callable of one deployment. The next request repeats a failed load. */
class Loader {
  constructor(code, entrypoint) {
    this.code = code;
    this.entrypoint = entrypoint;
    this.main = null;
    this.loading = null;
  }

  /** Return the callable; concurrent first calls share one load. Rejects with NotLoaded. */
  load() {
    this.loading ??= this.importMain().then(
      (main) => {
        this.main = main;
        return main;
      },
      (error) => {
        this.loading = null;
        throw error;
      },
    );
    return this.loading;
  }

  async importMain() {
    const file = path.join(this.code, this.entrypoint);
    if (!this.entrypoint || !isFile(file)) {
      throw new NotLoaded(`Failed to load entrypoint, file ${this.entrypoint} does not exist.`);
    }
    let loaded;
    try {
      loaded = await evaluate(file);
    } catch (error) {
      throw new NotLoaded(this.explain(error));
    }
    const main = callable(loaded);
    if (!main) throw new NotLoaded('Function signature invalid. Did you forget to export a function?');
    return main;
  }

  explain(error) {
    const stack = String(error?.stack ?? error);
    if (error instanceof SyntaxError) {
      const place = /^(?:file:\/\/)?(\/[^\n]*?):(\d+)\n/.exec(stack); // only the compiler puts the place first
      if (place) return `Syntax error in ${this.relative(place[1])}, line ${place[2]}: ${error.message}\n${stack}`;
      if (!/\n {4}at (?!ModuleLoader|.*\(?node:|async)/.test(stack)) {
        return `Syntax error in ${this.entrypoint}: ${error.message}\n${stack}`;
      }
    }
    return `Failed to load module: ${error?.message ?? error}\n${stack}`;
  }

  relative(file) {
    const inside = path.relative(this.code, file);
    return inside.startsWith('..') ? file : inside;
  }
}

async function evaluate(file) {
  if (file.endsWith('.mjs')) return import(pathToFileURL(file).href);
  try {
    return require(file);
  } catch (error) {
    if (!IMPORT_ONLY.has(error?.code)) throw error;
    return import(pathToFileURL(file).href);
  }
}

/** Return the exported function, also if the module system or a compiler wrapped it. */
function callable(loaded) {
  for (const candidate of [loaded, loaded?.default, loaded?.default?.default]) {
    if (typeof candidate === 'function') return candidate;
  }
  return null;
}

function isFile(file) {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}

module.exports = { Loader, NotLoaded };
