//! Writing pickles: the few opcodes that a dictionary of tensors needs (CPython's `pickletools`).
//!
//! The pickle crates for serde cannot be used: they write plain values, and a tensor is pickled as a function call.

/// A pickle under construction. The methods append opcodes, most of which push a value onto the reader's stack.
#[derive(Debug, Default)]
pub(super) struct Pickle(Vec<u8>);

impl Pickle {
    /// An empty pickle. torch writes protocol 2; [`Self::bytes`] needs protocol 3.
    pub(super) fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    pub(super) fn none(&mut self) {
        self.0.push(b'N');
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.0.push(if value { 0x88 } else { 0x89 });
    }

    pub(super) fn int(&mut self, value: i64) {
        if let Ok(small) = i32::try_from(value) {
            self.0.push(b'J');
            self.0.extend(small.to_le_bytes());
        } else {
            self.0.extend([0x8a, 8]);
            self.0.extend(value.to_le_bytes());
        }
    }

    pub(super) fn size(&mut self, value: usize) {
        self.int(i64::try_from(value).expect("no tensor has that many numbers"));
    }

    pub(super) fn text(&mut self, value: &str) {
        self.0.push(b'X');
        self.counted(value.as_bytes());
    }

    /// Needs protocol 3.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.0.push(b'B');
        self.counted(value);
    }

    fn counted(&mut self, value: &[u8]) {
        let length = u32::try_from(value.len()).expect("a tensor has less than 4 GiB");
        self.0.extend(length.to_le_bytes());
        self.0.extend(value);
    }

    /// Pushes a class or function by name.
    pub(super) fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    /// Pushes a tuple of the values that `items` pushes.
    pub(super) fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.0.push(b'(');
        items(self);
        self.0.push(b't');
    }

    pub(super) fn sizes(&mut self, sizes: &[usize]) {
        self.tuple(|p| sizes.iter().for_each(|&size| p.size(size)));
    }

    /// Pushes a dictionary; `items` pushes its keys and values alternately.
    pub(super) fn dict(&mut self, items: impl FnOnce(&mut Self)) {
        self.0.extend(b"}(");
        items(self);
        self.0.push(b'u');
    }

    /// Replaces a function and the tuple of arguments above it by the result of the call.
    pub(super) fn call(&mut self) {
        self.0.push(b'R');
    }

    /// Pops a state and assigns it to the object below.
    pub(super) fn set_state(&mut self) {
        self.0.push(b'b');
    }

    /// Replaces the top value, a persistent id, by the object outside the pickle that has this id.
    pub(super) fn persistent(&mut self) {
        self.0.push(b'Q');
    }

    /// Stores the top value in the memo at `index`.
    pub(super) fn remember(&mut self, index: u8) {
        self.0.extend([b'q', index]);
    }

    /// Pushes the value of the memo at `index`.
    pub(super) fn recall(&mut self, index: u8) {
        self.0.extend([b'h', index]);
    }

    /// Pops the top value.
    pub(super) fn pop(&mut self) {
        self.0.push(b'0');
    }

    /// The bytes of the pickle; exactly one value must be on the stack.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }
}
