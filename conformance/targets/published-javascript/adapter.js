// The conformance service on npm `duplex.js`, exactly as it is published.
//
// This file frames bytes, carries them over stdio or TCP, and registers the conformance service through the library's
// own API. It deliberately repairs nothing: no exception is caught, no frame is looked at, no reply is held back. What the
// library gets wrong is to be seen on the wire, or as a crash, as its users see it.
'use strict';
const net = require('node:net');
const { duplex } = require('duplex.js');
const library = require('duplex.js/package.json');

const FRAME_LIMIT = 1024 * 1024; // The framing is the adapter's, and so is its limit.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// ---- The configuration: exit 89 before the wire is touched, r[target.unknown-value], r[target.not-implemented]

const setting = (name, allowed) => {
  const value = process.env[`DUPLEX_${name}`] ?? allowed[0];
  return allowed.includes(value) ? value : notImplemented(`DUPLEX_${name}=${value}: this target knows ${allowed.join(', ')}`);
};
const address = (name) => {
  const match = /^(\d{1,3}(?:\.\d{1,3}){3}):(\d{1,5})$/.exec(process.env[`DUPLEX_${name}`] ?? '');
  const usable = match && net.isIPv4(match[1]) && Number(match[2]) < 65536;
  return usable ? { host: match[1], port: Number(match[2]) } : notImplemented(`DUPLEX_${name}: not an IPv4 address with a port`);
};
const notImplemented = (reason) => {
  process.stderr.write(`${reason}\n`);
  process.exit(89);
};
const role = setting('ROLE', ['acceptor', 'initiator']);
const framing = setting('FRAMING', ['length', 'newline']);
const transport = setting('TRANSPORT', ['stdio', 'tcp']);
setting('CODEC', ['json']);
const endpoint = transport === 'tcp' ? address(role === 'acceptor' ? 'LISTEN' : 'CONNECT') : null;

// ---- The framing: cuts `input` into the strings that the library takes, and hands it a `conn` to write to

function connect(input, write, close) {
  let open = true;
  const conn = {
    send(text) {
      const body = Buffer.from(text);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(body.length);
      if (open) write(Buffer.concat(framing === 'length' ? [length, body] : [body, Buffer.from('\n')]));
    },
    close() {
      open = false;
      close();
    },
  };
  if (role === 'acceptor') rpc.accept(conn);
  else rpc.handshake(conn);
  let buffered = Buffer.alloc(0);
  input.on('data', (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    for (let frame; open && (frame = cut()) !== null; ) conn.onrecv(frame);
  });

  // One frame off the front of `buffered`, or null; closes when a frame is over the limit.
  function cut() {
    const size = framing === 'length' ? (buffered.length < 4 ? -1 : buffered.readUInt32BE()) : buffered.indexOf('\n');
    const start = framing === 'length' ? 4 : 0;
    const isLine = framing === 'newline';
    const end = isLine && size < 0 ? buffered.length : size; // A line without end counts as far as it has come.
    const carriage = isLine && end > 0 && buffered[end - 1] === 0x0d ? 1 : 0;
    if (end - carriage > FRAME_LIMIT) return conn.close(), null;
    if (size < 0 || buffered.length < start + size) return null;
    const frame = buffered.subarray(start, start + size - carriage);
    buffered = buffered.subarray(start + size + (isLine ? 1 : 0));
    try {
      return utf8.decode(frame);
    } catch {
      return conn.close(), null; // The library takes strings: bytes that are none never reach it, as on a WebSocket.
    }
  }
}

// ---- The conformance service

const rpc = new duplex.RPC(duplex.JSON);
const offer = (name, handler) => rpc.register(`conformance.${name}`, handler);
const offerFunc = (name, func) => rpc.registerFunc(`conformance.${name}`, func);
const orNull = (value) => value ?? null; // `undefined` has no spelling in JSON.

const tokens = new Map(); // key -> { free, waiting }
const tokensOf = (key) => tokens.get(key) ?? tokens.set(key, { free: 0, waiting: [] }).get(key);
const token = (key) =>
  new Promise((taken) => {
    const of = tokensOf(key);
    if (of.free === 0) return of.waiting.push(taken);
    of.free -= 1;
    taken();
  });
const sinks = new Map(); // key -> { values, waiting }
const sinkOf = (key) => sinks.get(key) ?? sinks.set(key, { values: [], waiting: [] }).get(key);
const sink = (key, value) => {
  const of = sinkOf(key);
  of.values.push(value);
  of.waiting = of.waiting.filter(({ n, reply }) => of.values.length < n || reply(of.values));
};

const echo = (payload, reply) => reply(payload);

// Calls the other side as `order` says, and replies with what the library showed: a list of events.
async function call(order, reply, ch) {
  const after = order.when === 'after';
  if (after) reply(null);
  const events = [];
  for (let round = 0; round < (order.times ?? 1); round += 1) await callOnce(order, ch, events);
  if (!after) reply(events);
}

async function callOnce(order, ch, events) {
  const args = [...(order.args ?? [null]), ...(order.fill === undefined ? [] : ["x".repeat(order.fill)])];
  if (order.notify) return ch.peer.call(order.method, args[0]); // Without a callback the library sends no id.
  let ended;
  let isOver = false;
  const end = new Promise((resolve) => (ended = resolve)).then(() => (isOver = true));
  const saw = (event) => {
    events.push(event);
    if (order.trace !== undefined) sink(order.trace, event);
  };
  const child = ch.open(order.method, (error, payload, more) => {
    if (error) saw({ error });
    else saw({ item: orNull(payload) });
    if (!error && !more) saw({ end: true });
    if (error || !more) ended();
  });
  if (order.ext) child.ext = { ...child.ext, ...order.ext };
  for (let i = 0; i < args.length; i += 1) {
    if (i > 0 && order.pace !== undefined) await Promise.race([token(order.pace), end]);
    if (!isOver) child.send(args[i], order.end === true || i + 1 < args.length);
  }
  if (order.end && !isOver) child.send(null); // The nearest to an itemless end that the API has.
  await end;
}

offerFunc('describe', (_, reply) => reply({
  contract: 1, name: library.name, version: library.version, language: 'javascript',
  homepage: library.repository, issues: 'https://github.com/progrium/duplex/issues',
  profiles: ['core', 'caller', 'streaming', 'callbacks', 'inspect'],
  codecs: ['json'], framings: ['length', 'newline'], transports: ['stdio', 'tcp'], roles: ['acceptor', 'initiator'],
  limits: {
    frame: FRAME_LIMIT, greeting_frame: null, greeting_time: null, depth: null, open_calls: null, draining_ids: null,
    buffered_items: null, buffered_bytes: null, outbound_bytes: null, ext: null, closing_time: null,
  },
  lacks: {
    'call.reply-ext': 'the callback of a call is not given the ext of the reply',
    'call.single': 'a call has a callback, which runs for each reply: none is for a single value',
    'call.read': 'replies are handed to a callback as they come',
    'inspect.handlers': 'handlers that run are not counted',
    'inspect.callbacks': 'callbacks stand among the methods of the RPC object and belong to no connection',
    'inspect.connections': 'an RPC object does not know its peers',
  },
}));
offerFunc('echo', echo);
offer('sum', (ch) => {
  let total = 0;
  ch.onrecv = (_, item, more) => {
    total += item;
    if (!more) ch.send(total);
  };
});
offer('pipe', (ch) => {
  ch.onrecv = (_, item, more) => ch.send(item, more);
});
offer('take', (ch) => {
  let head = null;
  const items = [];
  ch.onrecv = (_, item, more) => {
    if (head === null) head = item;
    else {
      items.push(orNull(item));
      if (head.trace !== undefined) sink(head.trace, { item: orNull(item) });
    }
    if (head.trace !== undefined && !more) sink(head.trace, { end: true });
    if (items.length === head.n) ch.send(items);
  };
});
offerFunc('count', ({ n }, reply) => {
  for (let i = 1; i <= n; i += 1) reply(i, i < n);
});
offerFunc('fail', ({ code, message, data }, _, ch) => ch.senderr(code, message, data));
offerFunc('fail_after', ({ code, message, data, n }, reply, ch) => {
  for (let i = 1; i <= n; i += 1) reply(i, true);
  ch.senderr(code, message, data);
});
offerFunc('crash', ({ text, after }, reply) => {
  for (let i = 1; i <= (after ?? 0); i += 1) reply(i, true);
  throw new Error(text);
});
offerFunc('hold', (key, reply) => token(key).then(() => reply(key)));
offerFunc('release', (key, reply) => {
  const of = tokensOf(key);
  if (of.waiting.length > 0) of.waiting.shift()();
  else of.free += 1;
  reply(null);
});
offerFunc('sink', ({ key, value }) => sink(key, orNull(value)));
offerFunc('sunk', ({ key, n }, reply) => {
  const of = sinkOf(key);
  if (of.values.length >= n) reply(of.values);
  else of.waiting.push({ n, reply });
});
offerFunc('call', call);
offerFunc('offer', (as, reply) => reply(rpc.callbackFunc(as.as === 'call' ? call : echo)));
offerFunc('register', ({ name }, reply) => {
  rpc.registerFunc(name, echo);
  reply(null);
});
offerFunc('unregister', ({ name }, reply) => {
  rpc.unregister(name);
  reply(null);
});
offerFunc('inspect', (_, reply, ch) => reply({
  incoming: Object.keys(ch.peer.reqChan).length, // Streams of arguments: the library keeps no other incoming calls.
  outgoing: Object.keys(ch.peer.repChan).length,
  handlers: null, callbacks: null, connections: null,
}));
offerFunc('close', (_, reply, ch) => {
  reply(null);
  ch.close();
});

// ---- The life of a target

const leave = () => process.exit(0);
const carry = (socket) => {
  socket.on('error', () => {}); // A reset is an end; 'close' follows.
  connect(socket, (bytes) => socket.write(bytes), () => socket.destroySoon());
};
if (transport === 'stdio') {
  process.stdout.on('error', leave);
  process.stdin.on('end', leave);
  connect(process.stdin, (bytes) => process.stdout.write(bytes), () => process.stdout.end(leave));
} else {
  process.stdin.on('end', leave).resume(); // r[target.stdin]
  if (role === 'acceptor') {
    const server = net.createServer(carry).listen(endpoint, () => console.log(`listening ${endpoint.host}:${server.address().port}`));
  } else {
    const dial = () => {
      const socket = net.connect(endpoint);
      socket.once('connect', () => carry(socket));
      socket.once('error', (error) => error.code === 'ECONNREFUSED' && leave());
      socket.once('close', dial);
    };
    dial();
  }
}
