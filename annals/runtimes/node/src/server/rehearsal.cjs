'use strict';
// What an idle instance does before it is announced: the paths of a first call, so that the real one finds them warm.

const net = require('node:net');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const { Loader } = require('./loader.cjs');

const ROUNDS = 50;
const BODY = Buffer.from('{"a":[1]}');
const HEADERS = { host: 'localhost:3000', 'content-type': 'application/json', 'x-open-runtimes-logging': 'disabled' };

/** Play calls through `app`, which serves nothing yet, and leave it as it was. */
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

/** Send requests through the own socket, one after another; never fails the start. */
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

/** Lend `server`, whose own socket has no name in here, another one for as long as `play` takes. */
function withEntrance(server, play) {
  const path = join(tmpdir(), `.rehearsal-${process.pid}`);
  const entrance = net.createServer((socket) => server.emit('connection', socket));
  return new Promise((resolve) => {
    entrance.on('error', resolve);
    entrance.on('close', resolve);
    entrance.listen(path, () => play({ path }).then(() => entrance.close()));
  });
}

/** Everything that makes a first call slow, once. */
async function rehearse(app, server, address) {
  await import('data:text/javascript,'); // the loader of ES modules
  await rehearseCalls(app);
  await (address.fd === undefined ? rehearseWire(address) : withEntrance(server, rehearseWire));
}

module.exports = { rehearse };
