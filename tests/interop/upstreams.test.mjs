// Real servers behind the gateway: they end connections when they like, are killed, and load anew, and no caller notices.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { haproxyBehind, nginxBehind } from './backs.mjs';
import { freePorts } from './gateway.mjs';
import { openScene } from './scene.mjs';

const CALLERS = 16;
/** So few that under load a connection that waits is most often about to be closed. */
const REQUESTS_OF_A_CONNECTION = 7;

const [left, right, tls, h2c] = await freePorts(4);
const route = (name) => `  - { name: ${name}, match: { path_prefix: /${name} }, upstream: ${name}, public: true }\n`;
const scene = await openScene({
  more: ({ ca, client }) => ({
    upstreams: `
  pair: { servers: [http://127.0.0.1:${left}, http://127.0.0.1:${right}], retries: 2, health: { failures: 2, ejection: 200ms } }
  tls:
    servers: [https://localhost:${tls}]
    protocol: http2
    trust: { ca: ${ca.certificate} }
    client_certificate: { chain: ${client.certificate}, key: ${client.key} }
  h2c: { servers: [http://127.0.0.1:${h2c}], protocol: http2 }
`,
    routes: ['pair', 'tls', 'h2c'].map(route).join(''),
  }),
});
const { folder, ca, server } = scene;
const names = { left, right };
const begin = (name) => nginxBehind({ folder, name, port: names[name], requests: REQUESTS_OF_A_CONNECTION });
const running = { left: await begin('left'), right: await begin('right'), haproxy: await haproxyBehind({ folder, server, ca, ports: { tls, h2c } }) };
after(async () => {
  await scene.close();
  for (const one of Object.values(running)) await one.close();
});

/** Callers that ask without a pause while `what` goes on. Gives how many were answered, by whom. */
async function under(what) {
  const answered = {};
  let on = true;
  const caller = async () => {
    while (on) {
      const answer = await scene.fetch(`${scene.gateway.url}/pair`);
      const by = `${answer.status} ${await answer.text()}`;
      answered[by] = (answered[by] ?? 0) + 1;
    }
  };
  const callers = Array.from({ length: CALLERS }, caller);
  try {
    await what(answered);
  } finally {
    on = false;
  }
  await Promise.all(callers);
  return answered;
}

/** Waits until `holds`. */
async function until(holds) {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `not in time: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until `name` was answered by this often more. */
const more = (answered, name, count) => {
  const before = answered[`200 ${name}`] ?? 0;
  return until(() => (answered[`200 ${name}`] ?? 0) >= before + count);
};

test('nginx that ends its connections often, is killed and comes back: every request is answered by one of two', async (t) => {
  const answered = await under(async (answered) => {
    await more(answered, 'left', 200);
    await running.left.close('SIGKILL');
    await more(answered, 'right', 200);
    running.left = await begin('left');
    await more(answered, 'left', 200);
  });
  t.diagnostic(JSON.stringify(answered));
  assert.deepEqual(Object.keys(answered).sort(), ['200 left', '200 right']);
});

test('nginx that loads its configuration anew', async (t) => {
  const answered = await under(async (answered) => {
    for (let round = 0; round < 5; round += 1) {
      running.left.signal('SIGHUP');
      await more(answered, 'left', 50);
    }
  });
  t.diagnostic(JSON.stringify(answered));
  assert.deepEqual(Object.keys(answered).sort(), ['200 left', '200 right']);
});

test('HAProxy: HTTP/2 over TLS, with the certificate that it asks for', async () => {
  const answers = await Promise.all(Array.from({ length: 200 }, (_, at) => scene.fetch(`${scene.gateway.url}/tls/${at}`).then((answer) => answer.text())));
  assert.deepEqual(answers, answers.map((_, at) => `2 gateway /tls/${at}`));
});

test('HAProxy: HTTP/2 in clear text', async () => {
  const answers = await Promise.all(Array.from({ length: 200 }, (_, at) => scene.fetch(`${scene.gateway.url}/h2c/${at}`).then((answer) => answer.text())));
  assert.deepEqual(answers, answers.map((_, at) => `2 - /h2c/${at}`));
});
