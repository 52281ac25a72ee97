//! Pickles, written: the few opcodes that dictionaries of tensors need (CPython's `pickletools`).
//!
//! No crate does this: those for serde write plain values, and a tensor is a call.

/// A pickle that grows. Values are pushed on the stack of the machine that will read it.
#[derive(Debug, Default)]
pub(super) struct Pickle(Vec<u8>);

impl Pickle {
    /// Protocol 2 is torch's; bytes need 3.
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

    /// Of protocol 3.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.0.push(b'B');
        self.counted(value);
    }

    fn counted(&mut self, value: &[u8]) {
        let length = u32::try_from(value.len()).expect("a tensor has less than 4 GiB");
        self.0.extend(length.to_le_bytes());
        self.0.extend(value);
    }

    /// A class or function.
    pub(super) fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    /// A tuple of what `items` pushes.
    pub(super) fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.0.push(b'(');
        items(self);
        self.0.push(b't');
    }

    pub(super) fn sizes(&mut self, sizes: &[usize]) {
        self.tuple(|p| sizes.iter().for_each(|&size| p.size(size)));
    }

    /// A dictionary of the keys and values that `items` pushes by turns.
    pub(super) fn dict(&mut self, items: impl FnOnce(&mut Self)) {
        self.0.extend(b"}(");
        items(self);
        self.0.push(b'u');
    }

    /// Calls the function below the tuple of arguments.
    pub(super) fn call(&mut self) {
        self.0.push(b'R');
    }

    /// Gives the object below the state its state.
    pub(super) fn set_state(&mut self) {
        self.0.push(b'b');
    }

    /// Takes the tuple as the name of something outside the pickle.
    pub(super) fn persistent(&mut self) {
        self.0.push(b'Q');
    }

    /// Remembers the value on top as `index`.
    pub(super) fn remember(&mut self, index: u8) {
        self.0.extend([b'q', index]);
    }

    /// Pushes a value remembered.
    pub(super) fn recall(&mut self, index: u8) {
        self.0.extend([b'h', index]);
    }

    /// Drops the value on top.
    pub(super) fn pop(&mut self) {
        self.0.push(b'0');
    }

    /// The pickle of the one value on the stack.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }
}
