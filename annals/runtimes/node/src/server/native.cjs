'use strict';
// Sends `console` output to the log of the execution that writes, by its asynchronous context.

const { AsyncLocalStorage } = require('node:async_hooks');
const { Console } = require('node:console');

const executions = new AsyncLocalStorage();

/** A console stream that writes to the execution's log, or to the real stream outside of executions. */
function stream(real) {
  return {
    write(text) {
      const job = executions.getStore();
      if (job === undefined) real.write(text);
      else job.log.native(text.endsWith('\n') ? text.slice(0, -1) : text);
    },
  };
}

/** Replace the console, once, before user code is loaded. `process.stdout.write` is unchanged. */
function capture() {
  const captured = new Console({
    stdout: stream(process.stdout),
    stderr: stream(process.stderr),
    ignoreErrors: false,
    colorMode: false,
  });
  for (const [name, value] of Object.entries(captured)) if (typeof value === 'function') console[name] = value;
}

module.exports = { capture, executions };
