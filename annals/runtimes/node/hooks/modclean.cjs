'use strict';
// Removes files from node_modules that only people and development tools read. Usage: modclean.cjs FOLDER
// It keeps every file that a program could load, and removes folders only at the root of a package.

const fs = require('node:fs');
const path = require('node:path');

const FILES = new RegExp(
  [
    '\\.(?:md|markdown|mkd|flow|tsbuildinfo)$',
    '^(?:authors|changes|changelog|contributing|contributors|history|readme|security)(?:\\.txt)?$',
    '^\\.(?:babelrc|editorconfig|eslint.*|gitattributes|gitignore|gitmodules|jshintrc|npmignore|nycrc.*|prettier.*|travis\\.yml)$',
    '^(?:appveyor\\.yml|gruntfile\\.js|gulpfile\\.js|tsconfig\\.json|tslint\\.json|yarn\\.lock|package-lock\\.json|makefile)$',
  ].join('|'),
  'i',
);
const FOLDERS = /^(?:__tests__|\.circleci|\.github|\.idea|\.nyc_output|\.vscode|coverage|test|tests)$/;
const KEPT = /^licen[cs]e/i; // a licence goes with the code

let removed = 0;

function clean(folder) {
  const root = fs.existsSync(path.join(folder, 'package.json'));
  const manifest = root ? fs.readFileSync(path.join(folder, 'package.json'), 'utf8') : '';
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      if (root && FOLDERS.test(entry.name) && !names(manifest, entry.name)) remove(full);
      else clean(full);
    } else if (entry.isFile() && FILES.test(entry.name) && !KEPT.test(entry.name) && !names(manifest, entry.name)) {
      remove(full);
    }
  }
}

/** Return true if a package's description lists this file as part of its program. */
function names(manifest, name) {
  if (!manifest) return false;
  let fields;
  try {
    fields = JSON.parse(manifest);
  } catch {
    return true; // nobody knows what this package loads
  }
  const { main, module: esm, browser, exports, imports, bin } = fields;
  return JSON.stringify([main, esm, browser, exports, imports, bin]).includes(name);
}

function remove(full) {
  fs.rmSync(full, { recursive: true, force: true });
  removed += 1;
}

clean(process.argv[2]);
process.stdout.write(`Removed ${removed} files and folders from node_modules that no program reads.\n`);
