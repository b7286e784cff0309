'use strict';
// Node's own HTTP/1.1 server: bodies are collected up to the limit, and replies are written in one piece.

const http = require('node:http');

const { MAX_BODY } = require('./app.cjs');
const { joinHeaders } = require('./request.cjs');
const { plain } = require('./response.cjs');

const MAX_DISCARD = 64 * 1024 * 1024; // of a body that nobody wants, before the connection is cut
const EMPTY = Buffer.alloc(0);
const OPTIONS = {
  maxHeaderSize: 128 * 1024,
  keepAliveTimeout: 0, // the client decides when a connection ends: nothing races with its next request
  headersTimeout: 60_000,
  requestTimeout: 300_000,
  noDelay: true,
};

/** Return a server for `app` that does not listen yet. */
function makeServer(app) {
  const server = http.createServer(OPTIONS, (request, reply) => receive(app, request, reply));
  server.maxHeadersCount = 512;
  server.httpAllowHalfOpen = true; // who has sent its last request still gets the answer
  server.on('checkContinue', (request, reply) => {
    const refusal = refuse(app, request, joinHeaders(request.rawHeaders));
    if (refusal) {
      reply.shouldKeepAlive = false; // a client that asks first is spared the sending of a body
      write(request, reply, refusal);
    } else {
      reply.writeContinue();
      receive(app, request, reply);
    }
  });
  server.on('clientError', (error, socket) => {
    if (!socket.writable || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code] ?? 400;
    socket.end(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
  });
  return server;
}

function refuse(app, request, headers) {
  const refusal = app.admit(request.url, headers);
  if (refusal) return refusal;
  return Number(request.headers['content-length']) > MAX_BODY ? tooLarge() : null;
}

function tooLarge() {
  return plain(413, `Request body is larger than ${MAX_BODY} bytes.`);
}

function receive(app, request, reply) {
  const headers = joinHeaders(request.rawHeaders);
  let refusal = refuse(app, request, headers);
  const finish = (body) => {
    if (refusal) write(request, reply, refusal);
    else app.serve(request.method, request.url, headers, body, (answer) => write(request, reply, answer));
  };
  if (request.headers['transfer-encoding'] === undefined && !(Number(request.headers['content-length']) > 0)) {
    request.resume();
    finish(EMPTY);
    return;
  }
  const parts = [];
  let size = 0;
  request.on('data', (part) => {
    size += part.length;
    if (size > MAX_BODY) refusal ??= tooLarge();
    if (!refusal) parts.push(part);
    else if (size > MAX_DISCARD && !reply.headersSent) {
      reply.shouldKeepAlive = false;
      write(request, reply, refusal);
      request.pause();
    }
  });
  request.on('end', () => finish(parts.length === 1 ? parts[0] : Buffer.concat(parts)));
}

function write(request, reply, { status, headers, body }) {
  if (reply.destroyed) return;
  const bare = status === 204 || status === 304;
  const lines = bare ? headers : [...headers, 'content-length', String(body.length)];
  reply.sendDate = false; // the control plane dates what it answers
  reply.writeHead(status, lines);
  reply.end(bare || request.method === 'HEAD' ? undefined : body);
}

module.exports = { makeServer };
