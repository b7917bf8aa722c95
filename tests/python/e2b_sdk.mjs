// npm's e2b and @e2b/code-interpreter against the server that E2B_API_URL and
// E2B_SANDBOX_URL name; test_e2b_sdk.py runs it.
import assert from 'node:assert/strict'
import { CommandExitError, Sandbox as Plain, TimeoutError } from 'e2b'
import { Sandbox } from '@e2b/code-interpreter'

async function commands() {
  const box = await Plain.create({ envs: { WHO: 'world' }, metadata: { k: 'a b&c' } })
  const done = await box.commands.run('echo hello $WHO; echo oops >&2')
  assert.equal(done.stdout, 'hello world\n')
  assert.equal(done.stderr, 'oops\n')
  await assert.rejects(box.commands.run('exit 7'), (error) => {
    assert.ok(error instanceof CommandExitError)
    assert.equal(error.exitCode, 7)
    return true
  })
  const cat = await box.commands.run('cat', { background: true, stdin: true })
  assert.deepEqual((await box.commands.list()).map((one) => one.pid), [cat.pid])
  await box.commands.sendStdin(cat.pid, 'abc')
  await box.commands.closeStdin(cat.pid)
  assert.equal((await cat.wait()).stdout, 'abc')
  const sleep = await box.commands.run('exec sleep 60', { background: true })
  assert.equal(await box.commands.kill(sleep.pid), true)
  await assert.rejects(sleep.wait())
  assert.equal(await box.commands.kill(sleep.pid), false)
  await assert.rejects(box.commands.run('exec sleep 60', { timeoutMs: 500 }), TimeoutError)
  return box
}

async function files(box) {
  await box.files.write('a/b.txt', 'héllo')
  assert.equal(await box.files.read('a/b.txt'), 'héllo')
  const data = new Uint8Array(100000).map((_, n) => (n * 7) % 256)
  await box.files.write('raw', data.buffer)
  assert.deepEqual(await box.files.read('raw', { format: 'bytes' }), data)
  assert.equal(await box.files.makeDir('dir'), true)
  assert.equal(await box.files.makeDir('dir'), false)
  await box.files.rename('a/b.txt', 'dir/c.txt')
  assert.equal(await box.files.exists('a/b.txt'), false)
  assert.deepEqual((await box.files.list('dir')).map((one) => one.name), ['c.txt'])
  await box.files.remove('dir')
  await assert.rejects(box.files.read('dir/c.txt'))
}

async function life(box) {
  const pages = Plain.list({ query: { metadata: { k: 'a b&c' }, state: ['running'] } })
  assert.deepEqual((await pages.nextItems()).map((one) => one.sandboxId), [box.sandboxId])
  await box.setTimeout(1000_000)
  const info = await box.getInfo()
  assert.ok(info.endAt - Date.now() > 900_000)
  const same = await Plain.connect(box.sandboxId)
  assert.equal(await same.isRunning(), true)
  assert.equal(await box.kill(), true)
  assert.equal(await same.isRunning(), false)
  assert.equal(await Plain.kill(box.sandboxId), false)
}

async function code() {
  const box = await Sandbox.create({ network: { allowPublicTraffic: false } })
  const done = await box.runCode('x = 2\nprint("out")\nx * 21')
  assert.equal(done.text, '42')
  assert.deepEqual(done.logs.stdout, ['out\n'])
  assert.equal((await box.runCode('1/0')).error.name, 'ZeroDivisionError')
  const other = await box.createCodeContext()
  assert.equal((await box.runCode('x', { context: other })).error.name, 'NameError')
  assert.equal((await box.listCodeContexts()).length, 2)
  await box.restartCodeContext(other)
  await box.removeCodeContext(other)
  assert.equal((await box.runCode('x')).text, '2')
  const slow = box.runCode('import time; time.sleep(2)', { timeoutMs: 300 })
  await assert.rejects(slow, TimeoutError)
  await box.kill()
}

const box = await commands()
await files(box)
await life(box)
await code()
console.log('done')
process.exit(0)
