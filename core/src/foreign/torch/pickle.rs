//! Reading pickles as data, without executing them.
//!
//! A pickle is a program for a stack machine, and Python's machine calls any function that the program names.
//! This machine calls none. It recognises a few calls (`torch._utils._rebuild_tensor_v2` stands for a tensor)
//! and represents their results by nodes; any other call becomes an opaque node with its arguments. The opcodes
//! are those of CPython's `pickletools` for protocols 2 to 5; torch writes protocol 2.
//!
//! The number of opcodes and the memory of each are bounded, whatever the file contains.

use std::collections::HashMap;

use super::{
    cursor::Cursor,
    damaged,
    value::{Graph, Id, Name, Node},
};
use crate::error::Result;

/// The most opcodes of a pickle. The training state of a ResNet-101 has some fifty thousand.
const MAX_STEPS: usize = 1 << 20;
/// The most dimensions of a tensor.
pub(super) const MAX_RANK: usize = 8;

/// Reads one pickle at `cursor`, and moves the cursor to its end.
///
/// # Errors
/// `Error::Format` when it is truncated or damaged, uses an opcode that only protocols 0 and 1 have, or has
/// more than [`MAX_STEPS`] opcodes.
pub(super) fn read_pickle<'a>(cursor: &mut Cursor<'a>) -> Result<Graph<'a>> {
    let mut machine = Machine {
        cursor,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        steps: MAX_STEPS,
    };
    loop {
        machine.spend(1)?;
        if let Some(root) = machine.step()? {
            return Ok(Graph {
                nodes: machine.nodes,
                root,
            });
        }
    }
}

/// The stack machine; it makes nodes instead of Python objects.
pub(super) struct Machine<'a, 'c> {
    cursor: &'c mut Cursor<'a>,
    nodes: Vec<Node<'a>>,
    pub(super) stack: Vec<Id>,
    /// The heights of the stack at those MARK opcodes that are not yet closed.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// The number of steps that are left of [`MAX_STEPS`].
    steps: usize,
}

impl<'a> Machine<'a, '_> {
    /// Interprets one opcode. Returns the result of the pickle at STOP.
    fn step(&mut self) -> Result<Option<Id>> {
        let at = self.cursor.at();
        match self.cursor.u8()? {
            // PROTO
            0x80 => {
                if self.cursor.u8()? > 5 {
                    return Err(damaged("an unknown version of pickle"));
                }
            }
            // FRAME: a hint for buffering.
            0x95 => drop(self.cursor.u64()?),
            b'.' => return self.pop().map(Some),

            // Constants and numbers.
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.cursor.array()?);
                self.push(Node::Int(i64::from(value)));
            }
            b'K' => {
                let value = self.cursor.u8()?;
                self.push(Node::Int(i64::from(value)));
            }
            b'M' => {
                let value = self.cursor.u16()?;
                self.push(Node::Int(i64::from(value)));
            }
            0x8a => {
                let length = self.cursor.u8()?;
                self.long(u64::from(length))?;
            }
            0x8b => {
                let length = self.cursor.u32()?;
                self.long(u64::from(length))?;
            }
            b'G' => {
                self.cursor.take(8)?;
                self.push(Node::Float);
            }

            // Text and bytes, after a length of 1, 4 or 8 bytes.
            0x8c | b'U' => {
                let length = self.cursor.u8()?;
                self.text(u64::from(length))?;
            }
            b'X' | b'T' => {
                let length = self.cursor.u32()?;
                self.text(u64::from(length))?;
            }
            0x8d => {
                let length = self.cursor.u64()?;
                self.text(length)?;
            }
            b'C' => {
                let length = self.cursor.u8()?;
                self.bytes(u64::from(length))?;
            }
            b'B' => {
                let length = self.cursor.u32()?;
                self.bytes(u64::from(length))?;
            }
            0x8e | 0x96 => {
                let length = self.cursor.u64()?;
                self.bytes(length)?;
            }

            // Tuples, lists, sets, dictionaries.
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items));
            }
            b']' | 0x8f => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Node::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let pairs = pairs(self.pop_to_mark()?)?;
                self.push(Node::Dict(pairs));
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }

            // The stack and the memo.
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' => {
                let index = self.cursor.u8()?;
                self.memoize(u32::from(index))?;
            }
            b'r' => {
                let index = self.cursor.u32()?;
                self.memoize(index)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => {
                let index = self.cursor.u8()?;
                self.recall(u32::from(index))?;
            }
            b'j' => {
                let index = self.cursor.u32()?;
                self.recall(index)?;
            }

            // Classes, functions, calls and objects.
            b'c' => {
                let module = name(self.cursor.line()?)?;
                let name = name(self.cursor.line()?)?;
                self.push(Node::Global(Name { module, name }));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.str(module)?, self.str(name)?);
                self.push(Node::Global(Name { module, name }));
            }
            b'R' => {
                let (args, function) = (self.pop()?, self.pop()?);
                self.call(function, args)?;
            }
            0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.opaque(class, vec![args]);
            }
            0x92 => {
                let (named, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.opaque(class, vec![args, named]);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                // The state of other objects, such as `_metadata` of an OrderedDict, is ignored.
                if let Node::Opaque(_, parts) = &mut self.nodes[object as usize] {
                    parts.push(state);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let node = self.persistent(id)?;
                self.push(node);
            }
            other => {
                return Err(damaged(format!(
                    "byte {at} is {other:#04x}, no opcode of a checkpoint's pickle"
                )));
            }
        }
        Ok(None)
    }

    /// Subtracts `steps` from the remaining steps; an error if there are not enough.
    pub(super) fn spend(&mut self, steps: usize) -> Result<()> {
        let left = self.steps.checked_sub(steps);
        self.steps = left.ok_or_else(|| damaged("a pickle longer than any checkpoint's"))?;
        Ok(())
    }

    pub(super) fn push(&mut self, node: Node<'a>) {
        // A step makes at most one node, so the index fits into `Id`.
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(node);
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = &self.stack[floor..];
        let top = above.last().copied();
        top.ok_or_else(|| damaged("a pickle that takes more than it put down"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| damaged("a pickle that misses a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    pub(super) fn str(&self, id: Id) -> Result<&'a str> {
        match self.node(id) {
            Node::Str(text) => Ok(text),
            _ => Err(damaged("something else where a name belongs")),
        }
    }

    pub(super) fn items(&self, id: Id) -> Result<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Ok(items),
            _ => Err(damaged("something else where a tuple belongs")),
        }
    }

    /// A length, an offset or a stride.
    pub(super) fn size(&self, id: Id) -> Result<usize> {
        let size = match self.node(id) {
            Node::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        };
        size.ok_or_else(|| damaged("a tensor whose size is no number, or is below 0"))
    }

    pub(super) fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = self.items(id)?;
        if items.len() > MAX_RANK {
            return Err(damaged(format!(
                "a tensor of {} dimensions, more than {MAX_RANK}",
                items.len()
            )));
        }
        items.iter().map(|&id| self.size(id)).collect()
    }

    fn long(&mut self, length: u64) -> Result<()> {
        let digits = self.cursor.take_u64(length)?;
        let node = if digits.len() > 8 {
            Node::BigInt(digits)
        } else {
            let negative = digits.last().is_some_and(|&byte| byte >= 0x80);
            let mut bytes = [if negative { 0xff } else { 0 }; 8];
            bytes[..digits.len()].copy_from_slice(digits);
            Node::Int(i64::from_le_bytes(bytes))
        };
        self.push(node);
        Ok(())
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let bytes = self.cursor.take_u64(length)?;
        self.push(std::str::from_utf8(bytes).map_or(Node::Bytes(bytes), Node::Str));
        Ok(())
    }

    fn bytes(&mut self, length: u64) -> Result<()> {
        let bytes = self.cursor.take_u64(length)?;
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<()> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        match &mut self.nodes[list as usize] {
            Node::List(list) | Node::Opaque(_, list) => list.extend(items),
            _ => return Err(damaged("items for something that is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<()> {
        let dict = self.top()?;
        match &mut self.nodes[dict as usize] {
            Node::Dict(dict) => dict.extend(pairs(items)?),
            Node::Opaque(_, parts) => parts.extend(items),
            _ => return Err(damaged("items for something that is no dictionary")),
        }
        Ok(())
    }

    fn memoize(&mut self, index: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        let id = self.memo.get(&index);
        let id = id.ok_or_else(|| damaged("a pickle that recalls what it never stored"))?;
        self.stack.push(*id);
        Ok(())
    }
}

fn pairs(items: Vec<Id>) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err(damaged("a key without a value"))
    }
}

fn name(line: &[u8]) -> Result<&str> {
    std::str::from_utf8(line).map_err(|_| damaged("a name that is not UTF-8"))
}
