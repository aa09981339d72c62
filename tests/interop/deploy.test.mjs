// What an operator copies from deploy/ is what the tools it is for take, and what the real binary starts on.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { makeCertificates } from './certificates.mjs';
import { freePorts } from './gateway.mjs';

const repository = join(dirname(fileURLToPath(import.meta.url)), '../..');
const deploy = (file) => join(repository, 'deploy', file);
const python = process.env.HOLDFAST_PYTHON;
const folder = mkdtempSync(join(tmpdir(), 'holdfast-deploy-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const read = (what, ...files) =>
  JSON.parse(execFileSync(python, [join(repository, 'tests/interop/deploy_reader.py'), what, ...files], { encoding: 'utf8', timeout: 60_000 }));

/** Root is needed to live in another root directory; CI is root, a developer may not be. */
const asRoot = process.getuid() === 0 ? [] : ['sudo', '--non-interactive'];

/** The image's file system, gathered by the script that the Containerfile runs, from the binary under test. */
function image() {
  const root = join(folder, 'image');
  execFileSync(deploy('container/rootfs'), [process.env.HOLDFAST, root], { timeout: 60_000 });
  const { issue } = makeCertificates(folder);
  const server = issue('server', 'server');
  for (const [place, certificate, key] of [['etc/holdfast/certs', 'server.pem', 'server.key'], ['etc/holdfast-tls', 'tls.crt', 'tls.key']]) {
    mkdirSync(join(root, place), { recursive: true });
    copyFileSync(server.certificate, join(root, place, certificate));
    copyFileSync(server.key, join(root, place, key));
    chmodSync(join(root, place, key), 0o644);
  }
  return root;
}

/** The command line that runs holdfast in it as the image's user does: no right, no shell, no file but the image's own. */
const inside = (root, ...command) => [...asRoot, 'chroot', '--userspec=65532:65532', root, '/usr/bin/holdfast', ...command];
const run = ([program, ...rest]) => spawnSync(program, rest, { encoding: 'utf8', timeout: 30_000, env: { PATH: process.env.PATH } });

const root = image();
const samples = readdirSync(deploy('samples'));

test('there are samples for an edge proxy, a sidecar, a sidecar behind an ingress, and both presets', () => {
  assert.deepEqual(samples.sort(), ['edge.yaml', 'fapi2.yaml', 'mcp.yaml', 'sidecar-behind-ingress.yaml', 'sidecar.yaml']);
});

for (const sample of samples) {
  test(`${sample} starts in the image, and health says so`, async () => {
    const [port, admin] = await freePorts(2);
    const text = readFileSync(deploy(`samples/${sample}`), 'utf8');
    assert.match(text, /address: 0\.0\.0\.0:8443/);
    assert.match(text, /address: 127\.0\.0\.1:9901/);
    copyFileSync(deploy(`samples/${sample}`), join(root, 'etc/holdfast/gateway.yaml'));
    const checked = run(inside(root, 'check', '--config', '/etc/holdfast/gateway.yaml'));
    assert.equal(checked.status, 0, checked.stderr);

    const here = text.replace('0.0.0.0:8443', `127.0.0.1:${port}`).replace('127.0.0.1:9901', `127.0.0.1:${admin}`);
    writeFileSync(join(root, 'etc/holdfast/gateway.yaml'), here);
    // Refused at once, so that the issuer counts as tried.
    const [program, ...rest] = inside(root, 'serve', '--config', '/etc/holdfast/gateway.yaml');
    const gateway = spawn(program, rest, { env: { PATH: process.env.PATH, ISSUER: 'http://127.0.0.1:1' }, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    gateway.stderr.setEncoding('utf8').on('data', (more) => (said += more));
    const ended = once(gateway, 'exit');
    try {
      const health = (...more) => run(inside(root, 'health', '--address', `127.0.0.1:${admin}`, ...more));
      const deadline = Date.now() + 20_000;
      while (health('--live').status !== 0) {
        assert.ok(Date.now() < deadline, `not alive\n${said}`);
        await delay(50);
      }
      const ready = health();
      assert.equal(ready.status, 1);
      assert.match(ready.stderr, /503.*waiting for the issuers' keys/);
    } finally {
      gateway.kill('SIGTERM');
    }
    assert.deepEqual(await ended, [0, null], said);
  });
}

test('the image is small, has CA roots, and nothing to run but the gateway', () => {
  const files = execFileSync('find', [root, '-type', 'f', '-printf', '%P %s %m\n'], { encoding: 'utf8' }).trim().split('\n').map((line) => line.split(' '));
  const programs = files.filter(([name, , mode]) => (parseInt(mode, 8) & 0o111) !== 0 && !/\.so(\.|$)/.test(name));
  assert.deepEqual(programs.map(([name]) => name), ['usr/bin/holdfast']);
  const size = files.reduce((total, [, bytes]) => total + Number(bytes), 0);
  assert.ok(size < 40 * 2 ** 20, `${(size / 2 ** 20).toFixed(1)} MiB`);
  console.log(`the image has ${files.length} files, ${(size / 2 ** 20).toFixed(1)} MiB`);
  const roots = readFileSync(join(root, 'etc/ssl/certs/ca-certificates.crt'), 'utf8').match(/BEGIN CERTIFICATE/g);
  assert.ok(roots.length > 50, `${roots.length} CA roots`);
});

test('the container file is what hadolint would have', () => {
  const hadolint = join(dirname(python), 'hadolint');
  const linted = run([hadolint, '--failure-threshold', 'style', deploy('container/Containerfile')]);
  assert.equal(linted.status, 0, linted.stdout + linted.stderr);
  const text = readFileSync(deploy('container/Containerfile'), 'utf8');
  const last = text.slice(text.lastIndexOf('\nFROM '));
  assert.match(last, /^\nFROM scratch$/m);
  assert.match(last, /^USER 65532:65532$/m);
  assert.match(last, /^HEALTHCHECK .*CMD \["\/usr\/bin\/holdfast", "health"\]$/m);
  assert.doesNotMatch(last, /^RUN/m);
});

test('compose: the API publishes nothing and shares no network with the world', () => {
  const { services, networks } = read('compose', deploy('compose.yaml'));
  assert.deepEqual(services.holdfast.healthcheck.test, ['CMD', '/usr/bin/holdfast', 'health']);
  assert.deepEqual(services.holdfast.cap_drop, ['ALL']);
  assert.equal(services.holdfast.read_only, true);
  assert.ok(services.holdfast.volumes.includes('./samples/edge.yaml:/etc/holdfast/gateway.yaml:ro'));
  assert.equal(services.api.ports, undefined);
  assert.deepEqual(services.api.networks, ['private']);
  assert.equal(networks.private.internal, true);
});

test('kubernetes: a native sidecar in front of an application on loopback', (t) => {
  assert.equal(readFileSync(deploy('kubernetes/example/gateway.yaml'), 'utf8'), readFileSync(deploy('samples/sidecar.yaml'), 'utf8'));
  const rendered = run(['kubectl', 'kustomize', deploy('kubernetes/example')]);
  if (rendered.error || /unknown field|unknown command|invalid Kustomization/.test(rendered.stderr)) {
    // Debian's kubectl knows no components, and no registry has one that does: then the parts are judged and not what they make.
    t.diagnostic('no kubectl with kustomize components here: the files are validated one by one');
    read('kubernetes', deploy('kubernetes/example/accounts.yaml'), deploy('kubernetes/component/network-policy.yaml'));
    return;
  }
  assert.equal(rendered.status, 0, rendered.stderr);
  writeFileSync(join(folder, 'rendered.yaml'), rendered.stdout);
  const resources = read('kubernetes', join(folder, 'rendered.yaml'));
  const of = (kind) => resources.find((resource) => resource.kind === kind);

  const { template } = of('Deployment').spec;
  const [sidecar, ...others] = template.spec.initContainers;
  assert.deepEqual(others, []);
  assert.equal(sidecar.restartPolicy, 'Always');
  assert.deepEqual(sidecar.readinessProbe.exec.command, ['/usr/bin/holdfast', 'health']);
  assert.equal(sidecar.securityContext.runAsNonRoot, true);
  assert.equal(sidecar.securityContext.readOnlyRootFilesystem, true);

  const [application] = template.spec.containers;
  assert.equal(application.ports, undefined);
  assert.deepEqual(application.args, ['--listen', '127.0.0.1:9000']);
  assert.equal(of('Service').spec.ports[0].targetPort, 'holdfast');
  const [ingress] = of('NetworkPolicy').spec.ingress;
  assert.deepEqual(ingress.ports, [{ protocol: 'TCP', port: 8443 }]);
  assert.deepEqual(of('NetworkPolicy').spec.podSelector.matchLabels, { 'holdfast.dev/sidecar': 'true' });
  assert.equal(template.metadata.labels['holdfast.dev/sidecar'], 'true');
  // What the sidecar mounts and listens on is what its configuration says.
  const configuration = of('ConfigMap').data['gateway.yaml'];
  assert.match(configuration, /address: 0\.0\.0\.0:8443/);
  assert.match(configuration, /chain: \/etc\/holdfast-tls\/tls\.crt/);
  assert.deepEqual(sidecar.volumeMounts.map(({ mountPath }) => mountPath), ['/etc/holdfast', '/etc/holdfast-tls']);
});

test('systemd: the unit and its socket are what systemd-analyze would have', () => {
  const root = join(folder, 'systemd');
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  const unit = readFileSync(deploy('systemd/holdfast.service'), 'utf8').replaceAll('/usr/bin/holdfast', process.env.HOLDFAST);
  writeFileSync(join(root, 'holdfast.service'), unit);
  copyFileSync(deploy('systemd/holdfast.socket'), join(root, 'holdfast.socket'));
  const { stdout, stderr } = run(['systemd-analyze', 'verify', '--man=no', join(root, 'holdfast.service'), join(root, 'holdfast.socket')]);
  const complaints = (stdout + stderr).split('\n').filter((line) => line.includes('holdfast'));
  // systemd 252 (Debian 12) does not know this type yet; the unit says what to write there.
  assert.deepEqual(complaints.filter((line) => !/Failed to parse service type, ignoring: notify-reload/.test(line)), []);
  const name = /^FileDescriptorName=(.*)$/m.exec(readFileSync(deploy('systemd/holdfast.socket'), 'utf8'))[1];
  assert.match(readFileSync(deploy('samples/edge.yaml'), 'utf8'), new RegExp(`name: ${name}$`, 'm'));
});
