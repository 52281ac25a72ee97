//! The function calls and persistent ids in torch's pickles that are recognised, and the nodes that represent their
//! results. No function is called.

use super::{
    damaged,
    pickle::Machine,
    value::{Id, Name, Node, Storage, TensorRef},
};
use crate::error::Result;

impl<'a> Machine<'a, '_> {
    /// Pushes the node that represents the result of a call.
    pub(super) fn call(&mut self, function: Id, args: Id) -> Result<()> {
        let Node::Global(Name { module, name }) = *self.node(function) else {
            self.opaque(function, vec![function, args]);
            return Ok(());
        };
        match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => {
                let tensor = self.tensor(args)?;
                self.push(Node::Tensor(Box::new(tensor)));
            }
            // A parameter is represented by its tensor and a size by its tuple, the first argument of the call.
            ("torch._utils", "_rebuild_parameter") | ("torch", "Size") => {
                let first = self.items(args)?.first().copied();
                let first = first.ok_or_else(|| damaged("a parameter without a tensor"))?;
                self.stack.push(first);
            }
            ("collections", "OrderedDict") => {
                let pairs = match *self.items(args)? {
                    [] => Vec::new(),
                    [list] => self.pairs_of(list)?,
                    _ => return Err(damaged("an OrderedDict of several things")),
                };
                self.push(Node::Dict(pairs));
            }
            _ => self.opaque(function, vec![args]),
        }
        Ok(())
    }

    /// The pairs of `[[key, value], …]`, the form in which Python 2 pickles an OrderedDict.
    fn pairs_of(&mut self, list: Id) -> Result<Vec<(Id, Id)>> {
        // This copies the list. A damaged file may refer to one list many times, so each copy is subtracted from
        // the permitted number of steps.
        self.spend(self.items(list)?.len())?;
        let pair = |&id: &Id| match *self.items(id)? {
            [key, value] => Ok((key, value)),
            _ => Err(damaged("a dictionary of other things than pairs")),
        };
        self.items(list)?.iter().map(pair).collect()
    }

    /// Pushes an object of the unknown class `class`, made from `parts`.
    pub(super) fn opaque(&mut self, class: Id, parts: Vec<Id>) {
        let name = match *self.node(class) {
            Node::Global(name) | Node::Opaque(name, _) => name,
            _ => Name {
                module: "an unnamed",
                name: "object",
            },
        };
        self.push(Node::Opaque(name, parts));
    }

    /// The tensor of `(storage, offset, size, stride, …)`; the further arguments concern gradients.
    fn tensor(&self, args: Id) -> Result<TensorRef<'a>> {
        let &[storage, offset, shape, strides, ..] = self.items(args)? else {
            return Err(damaged("a tensor without its storage, size or strides"));
        };
        let Node::Storage(storage) = *self.node(storage) else {
            return Err(damaged("a tensor without a storage"));
        };
        let tensor = TensorRef {
            storage,
            offset: self.size(offset)?,
            shape: self.sizes(shape)?,
            strides: self.sizes(strides)?,
        };
        if tensor.shape.len() == tensor.strides.len() {
            Ok(tensor)
        } else {
            Err(damaged("a tensor with more sizes than strides, or fewer"))
        }
    }

    /// The node of a persistent id, `("storage", class, key, device, elements)`. In the old format a sixth item
    /// is None or a view of the storage, `(key, offset, elements)`.
    pub(super) fn persistent(&self, id: Id) -> Result<Node<'a>> {
        let (class, key, elements, view) = match *self.items(id)? {
            [kind, class, key, _, elements] if self.str(kind)? == "storage" => {
                (class, key, elements, None)
            }
            [kind, class, key, _, elements, view] if self.str(kind)? == "storage" => {
                (class, key, elements, Some(view))
            }
            // A pickled network has ids ("module", class, file, source).
            _ => {
                let class = self.items(id)?.get(1).copied().unwrap_or(id);
                return Ok(match *self.node(class) {
                    Node::Global(name) => Node::Global(name),
                    _ => Node::None,
                });
            }
        };
        let Node::Global(class) = *self.node(class) else {
            return Err(damaged("a storage without a type"));
        };
        let mut storage = Storage {
            class: class.name,
            key: self.str(key)?,
            inside: None,
            offset: 0,
            elements: self.size(elements)?,
        };
        if let Some(view) = view
            && !matches!(self.node(view), Node::None)
        {
            let &[_, offset, elements] = self.items(view)? else {
                return Err(damaged("a view of a storage without its bounds"));
            };
            storage.offset = self.size(offset)?;
            storage.elements = self.size(elements)?;
        }
        Ok(Node::Storage(storage))
    }
}
