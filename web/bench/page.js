// The page of the bench: what the script outside calls.
globalThis.bench = {
  async open(contender, device, given) {
    const { open } = await import(`/bench/${contender}.js`);
    const started = performance.now();
    this.running = await open(device, given);
    const first = await this.running.once();
    return { ready: performance.now() - started, first };
  },
  async warm(runs) {
    const times = [];
    for (let i = 0; i < runs; i++) times.push(await this.running.once());
    return times;
  },
  row(cell) {
    return this.running.row(cell);
  },
};
