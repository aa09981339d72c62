// Programs of others that a test runs: they end with it, and say why where they do not start.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const UP_WITHIN_MS = 20_000;

/** Runs a program until `close`, once its ports take connections. */
export async function run(command, args, ports) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  // A process group of its own: workers would outlive a parent that is killed, and go on answering.
  const kill = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // All of it has ended.
    }
  };
  process.on('exit', kill);
  const exited = once(child, 'exit');
  const failed = once(child, 'error').then(([error]) => Promise.reject(error));
  const gone = exited.then(([code]) => Promise.reject(new Error(`${command} ended with ${code}: ${said}`)));
  gone.catch(() => {});
  failed.catch(() => {});
  await Promise.race([failed, gone, Promise.all(ports.map(listens))]);
  return {
    said: () => said,
    signal: (name) => child.kill(name),
    async close(signal = 'SIGTERM') {
      if (signal === 'SIGKILL') kill();
      else child.kill(signal);
      await Promise.race([exited, delay(5_000, undefined, { ref: false })]);
      kill();
      process.off('exit', kill);
    },
  };
}

async function listens(port) {
  const deadline = Date.now() + UP_WITHIN_MS;
  while (Date.now() < deadline) {
    const socket = net.connect(port, '127.0.0.1');
    const up = await new Promise((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
    socket.destroy();
    if (up) return;
    await delay(50);
  }
  throw new Error(`nothing listens on port ${port}`);
}
