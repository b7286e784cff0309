'use strict';
// Warm-up of an idle instance before it is announced: runs the code paths of a first call, so that the real one is fast.

const net = require('node:net');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const { Loader } = require('./loader.cjs');

const ROUNDS = 50;
const BODY = Buffer.from('{"a":[1]}');
const HEADERS = { host: 'localhost:3000', 'content-type': 'application/json', 'x-open-runtimes-logging': 'disabled' };

/** Send calls through `app`, which has no deployment yet, and restore its state. */
function rehearseCalls(app) {
  app.loader = new Loader('/', '');
  app.loader.main = async ({ req, res, log }) => {
    log(req.url);
    return res.json(req.body, 200, { 'x-a': 'b' });
  };
  app.secret = Buffer.alloc(0);
  app.deployment = { development: false, enforced: [] };
  let answered = 0;
  return new Promise((resolve) => {
    for (let round = 0; round < ROUNDS; round += 1) {
      app.serve('POST', '/a?b=c', { ...HEADERS }, BODY, () => {
        answered += 1;
        if (answered === ROUNDS) resolve();
      });
    }
  }).then(() => {
    app.deployment = null;
    app.loader = null;
  });
}

/** Send requests through the server's own socket, one after another; failures are ignored. */
function rehearseWire(address) {
  const request = `POST /__opr/health HTTP/1.1\r\nhost: x\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`;
  return new Promise((resolve) => {
    const socket = net.connect(address.path ? address : { ...address, host: '127.0.0.1' });
    let rounds = ROUNDS;
    const next = () => {
      rounds -= 1;
      if (rounds < 0) socket.end();
      else socket.write(request);
    };
    socket.on('connect', next);
    socket.on('data', next);
    socket.on('error', resolve);
    socket.on('close', resolve);
  });
}

/** Let `server`, whose own socket has no path in the sandbox, listen on a second one while `play` runs. */
function withEntrance(server, play) {
  const path = join(tmpdir(), `.rehearsal-${process.pid}`);
  const entrance = net.createServer((socket) => server.emit('connection', socket));
  return new Promise((resolve) => {
    entrance.on('error', resolve);
    entrance.on('close', resolve);
    entrance.listen(path, () => play({ path }).then(() => entrance.close()));
  });
}

/** Run once everything that makes a first call slow. */
async function rehearse(app, server, address) {
  await import('data:text/javascript,'); // the loader of ES modules
  await rehearseCalls(app);
  await (address.fd === undefined ? rehearseWire(address) : withEntrance(server, rehearseWire));
}

module.exports = { rehearse };
