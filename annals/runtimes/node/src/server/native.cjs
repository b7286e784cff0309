'use strict';
// Binds `console` to the execution that wrote, by its asynchronous context.

const { AsyncLocalStorage } = require('node:async_hooks');
const { Console } = require('node:console');

const executions = new AsyncLocalStorage();

/** A console stream: into the execution's logs, or through to the real one outside of any execution. */
function stream(real) {
  return {
    write(text) {
      const job = executions.getStore();
      if (job === undefined) real.write(text);
      else job.log.native(text.endsWith('\n') ? text.slice(0, -1) : text);
    },
  };
}

/** Take the console over, once, before any user code is loaded. `process.stdout.write` stays as it is. */
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
