// What npm's clients send for the operations that the fleet has, too: one of
// each; test_e2b_dialect.py looks at the requests.
import { Sandbox } from '@e2b/code-interpreter'

const box = await Sandbox.create('code-interpreter-v1', {
  timeoutMs: 95_000,
  metadata: { bf: '1', 'bf.owner': 'w-1' },
  allowInternetAccess: false,
  network: { allowPublicTraffic: false },
})
await Sandbox.list({
  query: { metadata: { bf: '1', 'bf.owner': 'w-1' }, state: ['running'] },
  limit: 100,
}).nextItems()
await Sandbox.connect(box.sandboxId, { timeoutMs: 60_000 })
await box.setTimeout(60_000)
await box.getInfo()
await box.isRunning()
await box.runCode('1', { language: 'python' })
await box.files.write('/tmp/in.bin', new Uint8Array([1, 2, 3]).buffer, {
  useOctetStream: true,
})
const sleep = await box.commands.run('exec sleep 60', {
  background: true,
  timeoutMs: 60_000,
})
await box.commands.kill(sleep.pid)
await sleep.wait().catch(() => {})
await box.files.makeDir('/tmp/bf-lease')
await box.files.remove('/tmp/bf-lease')
await box.kill()
process.exit(0)
