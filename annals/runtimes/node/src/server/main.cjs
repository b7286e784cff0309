'use strict';
// Starts the server. There is one process for any `OPEN_RUNTIMES_CPUS`: for more load the executor starts more
// instances, each with its own memory limit, and the kernel enforces the processor share.

const { App, describe } = require('./app.cjs');
const { makeServer } = require('./http.cjs');
const { capture, executions } = require('./native.cjs');
const { rehearse } = require('./rehearsal.cjs');
const { takeWiring } = require('./settings.cjs');

const BACKLOG = 1024;
const LAST_WORDS_MS = 100;

function main() {
  const wiring = takeWiring();
  const app = new App(wiring);
  const server = makeServer(app);
  process.on('uncaughtException', (error) => die(error, server));
  process.on('exit', () => app.flush());
  // The first process of a container has no default signal handlers.
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
  const place = address(wiring.listen);
  server.listen({ ...place, backlog: BACKLOG }, async () => {
    if (wiring.generic) await rehearse(app, server, place);
    process.stdout.write('HTTP server successfully started!\n');
    capture();
  });
}

function address(listen) {
  const [kind] = listen.split(':', 1);
  const place = listen.slice(kind.length + 1);
  if (kind === 'unix') return { path: place };
  if (kind === 'fd') return { fd: Number(place) };
  const colon = place.lastIndexOf(':');
  return { host: place.slice(0, colon), port: Number(place.slice(colon + 1)) };
}

/**
 * Handle an uncaught exception or unhandled rejection of user code. The state of the process is unknown: log the reason
 * in the execution it belongs to, if that still runs, then end the process.
 */
function die(error, server) {
  server.close(); // who connects now is refused at once and may try another instance
  process.stderr.write(`${describe(error)}\n`);
  process.exitCode = 1;
  executions.getStore()?.raised(error);
  setTimeout(() => process.exit(1), LAST_WORDS_MS);
}

module.exports = { main };
