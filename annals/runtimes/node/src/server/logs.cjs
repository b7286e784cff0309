'use strict';
// Writes the logs of executions: to files, or as frames to the executor's socket.

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { randomBytes } = require('node:crypto');
const { inspect } = require('node:util');

const LOGS = 0;
const ERRORS = 1;
const END = 2;
const MAX_CALL = 8000;
const CUT = `... Log truncated due to size limit (${MAX_CALL} characters)`;
const NATIVE_NOTICE = 'Native logs detected. Use context.log() or context.error() for better experience.';
const MAX_STREAM = 5 * 1024 * 1024; // what readers keep at least
const MORE = 64 * 1024; // a little over what they keep, so that they see that there was more
const PROMPT_WRITES = 32; // a blocked or dying process must not keep the last lines; only who logs more is batched
const MAX_PENDING = 64 * 1024;
const BATCH_MS = 50;
const SAFE_ID = /^[0-9A-Za-z_-][0-9A-Za-z._-]{0,127}$/;
const CHANNEL_PATIENCE_MS = 5000;

/** The contract's two files per execution. */
class FileWriter {
  constructor(folder, logId) {
    this.files = [];
    try {
      for (const name of ['logs', 'errors']) {
        this.files.push(fs.openSync(path.join(folder, `${logId}_${name}.log`), 'a', 0o644));
      }
    } catch {
      this.abandon();
    }
  }

  write(kind, text) {
    if (!this.files.length) return;
    try {
      fs.writeSync(this.files[kind], text);
    } catch {
      this.abandon(); // a failed log write never fails the request
    }
  }

  close(flush) {
    flush();
    this.abandon();
    return null;
  }

  abandon() {
    for (const file of this.files) fs.closeSync(file);
    this.files = [];
  }
}

/** The executor's log socket, shared by all requests. After the connection is lost, log text is dropped. */
class Channel {
  constructor(address) {
    this.lost = false;
    this.socket = net.connect(address);
    this.socket.unref();
    this.socket.on('error', () => this.lose());
    this.socket.on('close', () => this.lose());
    this.socket.resume();
  }

  send(frames) {
    if (!this.lost) this.socket.write(frames);
  }

  /** Return null if the kernel has all bytes, otherwise a promise for that. */
  drained() {
    if (this.lost || this.socket.writableLength === 0) return null;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.lose(), CHANNEL_PATIENCE_MS);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      this.socket.write('', done);
      this.socket.once('close', done);
    });
  }

  lose() {
    this.lost = true;
    this.socket.destroy();
  }
}

/** Frames of one log id: length of the rest, kind, length of the id, id, text. */
class ChannelWriter {
  constructor(channel, logId) {
    this.channel = channel;
    this.id = logId;
  }

  frame(kind, text) {
    const length = 2 + this.id.length + Buffer.byteLength(text);
    const frame = Buffer.allocUnsafe(4 + length);
    frame.writeUInt32BE(length, 0);
    frame[4] = kind;
    frame[5] = this.id.length;
    frame.latin1Write(this.id, 6);
    frame.utf8Write(text, 6 + this.id.length);
    return frame;
  }

  write(kind, text) {
    this.channel.send(this.frame(kind, text));
  }

  close(flush) {
    const { socket } = this.channel;
    socket.cork(); // all that is left goes out in one piece
    flush();
    this.write(END, '');
    socket.uncork();
    return this.channel.drained();
  }
}

/** One execution's logs and errors. */
class Log {
  constructor(id, writer, most = MAX_STREAM) {
    this.id = id;
    this.writer = writer;
    this.pending = ['', ''];
    this.left = [most + MORE, most + MORE];
    this.writes = 0;
    this.timer = null;
    this.nativeSeen = false;
    this.closed = false;
    this.log = (...parts) => this.line(LOGS, parts.map(asPart).join(' '));
    this.error = (...parts) => this.line(ERRORS, parts.map(asPart).join(' '));
  }

  /** Add output that was not logged through the context: in order, after one notice. */
  native(text) {
    if (!this.nativeSeen) {
      this.nativeSeen = true;
      this.line(LOGS, NATIVE_NOTICE);
    }
    this.line(LOGS, text);
  }

  line(kind, text) {
    if (this.closed || this.left[kind] <= 0) return;
    if (text.length > MAX_CALL) text = text.slice(0, MAX_CALL) + CUT;
    this.left[kind] -= text.length + 1;
    this.pending[kind] += `${text}\n`;
    if (this.writes < PROMPT_WRITES || this.pending[kind].length > MAX_PENDING) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), BATCH_MS);
  }

  flush() {
    this.writes += 1;
    if (this.timer) {
      clearTimeout(this.timer);
      this.timer = null;
    }
    for (const kind of [LOGS, ERRORS]) {
      if (this.pending[kind] === '') continue;
      this.writer.write(kind, this.pending[kind]);
      this.pending[kind] = '';
    }
  }

  /** Write the remaining text; later output is dropped. Returns null, or a promise if the reader is behind. */
  close() {
    if (this.closed) return null;
    const drained = this.writer.close(() => this.flush());
    this.closed = true;
    return drained;
  }
}

/** The log of an execution without logging: calls do nothing. */
class SilentLog extends Log {
  constructor() {
    super('', null);
    this.closed = true;
  }

  flush() {}

  close() {
    return null;
  }
}

/** Return one argument of a log call as text: errors as their stack, structures as compact JSON. */
function asPart(part) {
  if (typeof part === 'string') return part;
  if (part instanceof Error) return part.stack || part.message;
  if (typeof part !== 'object' || part === null) return String(part);
  try {
    return JSON.stringify(part) ?? String(part);
  } catch {
    return inspect(part); // a structure that holds itself, or a big integer
  }
}

/** Opens a log for each execution. */
class Logs {
  constructor(target, folder, most) {
    this.folder = folder;
    this.most = Math.max(MAX_STREAM, most);
    this.channel = target.startsWith('unix:') ? new Channel(target.slice('unix:'.length)) : null;
  }

  /** Return the log that the control headers request; its id is empty if logging is off. */
  open(headers, development) {
    const logging = headers['x-open-runtimes-logging'];
    if (logging && logging !== 'enabled') return new SilentLog();
    let id = headers['x-open-runtimes-log-id'] || '';
    // Absent, or one that could name a file elsewhere.
    if (!SAFE_ID.test(id)) id = development && !id ? 'dev' : randomBytes(10).toString('hex');
    if (!this.channel) return new Log(id, new FileWriter(this.folder, id));
    return new Log(id, new ChannelWriter(this.channel, id), this.most);
  }
}

module.exports = { Logs };
