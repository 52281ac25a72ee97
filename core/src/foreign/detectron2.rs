//! Writing detectron2's model zoo format: a pickle of NumPy arrays with detectron2's names.
//!
//! The content is that of the authors' `convert-pretrain-to-detectron2.py`. The batch counters of batch
//! normalisation are omitted, because detectron2 freezes batch normalisation and has no such tensors.

use super::{StateDict, Value, names::to_detectron2, pickle_writer::Pickle};
use crate::{
    error::{Error, Result},
    stored::Stored,
};

/// The index, in the pickle's memo, of the dtype object that all arrays share.
const DTYPE: u8 = 0;

/// A key whose value is true if the stride of bottlenecks is in their first 1×1 convolution. detectron2 ignores
/// it. We read it when importing the file, because the placement does not follow from names and shapes.
pub const STRIDE_IN_1X1: &str = "stride_in_1x1";

/// The bytes of the file.
///
/// # Errors
/// [`Error::Mismatch`] for a tensor that is not part of a backbone; the format cannot contain heads.
pub fn write(state_dict: &StateDict, stride_in_1x1: bool) -> Result<Vec<u8>> {
    let mut arrays = Vec::new();
    for (name, value) in &state_dict.0 {
        if let Value::Floats(stored) = value {
            let theirs = to_detectron2(name).ok_or_else(|| {
                Error::Mismatch(format!("detectron2 has no tensor that could be {name}"))
            })?;
            arrays.push((theirs, *stored));
        }
    }
    Ok(pickle(&arrays, stride_in_1x1))
}

/// `{"model": {name: array}, "__author__": …, "matching_heuristics": True}`. With `matching_heuristics`,
/// detectron2 finds the backbone inside any model, whatever prefix its names have there.
fn pickle(arrays: &[(String, &Stored)], stride_in_1x1: bool) -> Vec<u8> {
    let mut pickle = Pickle::new(3);
    pickle.dict(|p| {
        p.text("__author__");
        p.text("densecl");
        p.text("matching_heuristics");
        p.bool(true);
        p.text("model");
        float32(p);
        p.remember(DTYPE);
        p.pop();
        p.dict(|p| {
            for (name, stored) in arrays {
                p.text(name);
                array(p, stored);
            }
        });
        if stride_in_1x1 {
            p.text(STRIDE_IN_1X1);
            p.bool(true);
        }
    });
    pickle.finish()
}

/// `numpy.dtype("f4")`, little-endian.
fn float32(p: &mut Pickle) {
    p.global("numpy", "dtype");
    p.tuple(|p| {
        p.text("f4");
        p.bool(false);
        p.bool(true);
    });
    p.call();
    p.tuple(|p| {
        p.int(3);
        p.text("<");
        for _ in 0..3 {
            p.none();
        }
        p.int(-1);
        p.int(-1);
        p.int(0);
    });
    p.set_state();
}

/// An array as NumPy pickles it. NumPy 2 has renamed this module and still accepts the old name.
fn array(p: &mut Pickle, stored: &Stored) {
    p.global("numpy.core.multiarray", "_reconstruct");
    p.tuple(|p| {
        p.global("numpy", "ndarray");
        p.sizes(&[0]);
        p.bytes(b"b");
    });
    p.call();
    p.tuple(|p| {
        p.int(1);
        p.sizes(&stored.shape);
        p.recall(DTYPE);
        p.bool(false);
        p.bytes(&stored.le_bytes());
    });
    p.set_state();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::foreign::torch::TorchFile;

    /// A Python object that results from unpickling.
    #[derive(Debug, Clone, PartialEq)]
    enum Made {
        None,
        Bool(bool),
        Int(i32),
        Text(String),
        Bytes(Vec<u8>),
        Global(String),
        Tuple(Vec<Made>),
        Dict(Vec<(Made, Made)>),
        /// Function, arguments, state.
        Object(Box<(Made, Made, Option<Made>)>),
    }

    /// An interpreter for the opcodes of Python's `pickle` that the writer uses.
    fn unpickle(mut at: &[u8]) -> Made {
        fn take<'a>(at: &mut &'a [u8], count: usize) -> &'a [u8] {
            let (taken, rest) = at.split_at(count);
            *at = rest;
            taken
        }
        fn counted<'a>(at: &mut &'a [u8]) -> &'a [u8] {
            let length = u32::from_le_bytes(take(at, 4).try_into().expect("4 bytes"));
            take(at, length as usize)
        }
        assert_eq!(take(&mut at, 2), [0x80, 3]);
        let (mut stack, mut marks, mut memo) = (Vec::new(), Vec::new(), BTreeMap::new());
        loop {
            match take(&mut at, 1)[0] {
                b'N' => stack.push(Made::None),
                flag @ (0x88 | 0x89) => stack.push(Made::Bool(flag == 0x88)),
                b'J' => {
                    let bytes = take(&mut at, 4).try_into().expect("4 bytes");
                    stack.push(Made::Int(i32::from_le_bytes(bytes)));
                }
                b'X' => {
                    let text = String::from_utf8(counted(&mut at).to_vec());
                    stack.push(Made::Text(text.expect("UTF-8")));
                }
                b'B' => stack.push(Made::Bytes(counted(&mut at).to_vec())),
                b'c' => {
                    let end = |at: &[u8]| at.iter().position(|&b| b == b'\n').expect("a line");
                    let first = end(at);
                    let second = first + 1 + end(&at[first + 1..]);
                    let name = String::from_utf8(take(&mut at, second + 1).to_vec());
                    let name = name.expect("UTF-8").trim_end().replace('\n', ".");
                    stack.push(Made::Global(name));
                }
                b'(' => marks.push(stack.len()),
                b't' => {
                    let items = stack.split_off(marks.pop().expect("a mark"));
                    stack.push(Made::Tuple(items));
                }
                b'}' => stack.push(Made::Dict(Vec::new())),
                b'u' => {
                    let items = stack.split_off(marks.pop().expect("a mark"));
                    let (pairs, rest) = items.as_chunks::<2>();
                    assert!(rest.is_empty());
                    let pairs = pairs
                        .iter()
                        .map(|[key, value]| (key.clone(), value.clone()));
                    assert_eq!(stack.pop(), Some(Made::Dict(Vec::new())));
                    stack.push(Made::Dict(pairs.collect()));
                }
                b'R' => {
                    let (arguments, function) = (stack.pop(), stack.pop());
                    let parts = (function.expect("one"), arguments.expect("one"), None);
                    stack.push(Made::Object(Box::new(parts)));
                }
                b'b' => {
                    let state = stack.pop();
                    let Some(Made::Object(object)) = stack.last_mut() else {
                        panic!("a state for no object")
                    };
                    object.2 = state;
                }
                b'q' => {
                    let top = stack.last().expect("a value").clone();
                    memo.insert(take(&mut at, 1)[0], top);
                }
                b'h' => stack.push(memo[&take(&mut at, 1)[0]].clone()),
                b'0' => drop(stack.pop().expect("a value")),
                b'.' => break,
                other => panic!("opcode {other:#x}"),
            }
        }
        assert!(at.is_empty() && marks.is_empty() && stack.len() == 1);
        stack.remove(0)
    }

    #[test]
    fn an_array_is_what_numpy_pickles() {
        let stored = Stored {
            shape: vec![2, 1],
            values: vec![1.5, -0.0],
        };
        let state_dict = StateDict(vec![
            ("bn1.weight".to_string(), Value::Floats(&stored)),
            ("bn1.num_batches_tracked".to_string(), Value::Counter(3)),
        ]);
        let text = |text: &str| Made::Text(text.to_string());
        let global = |name: &str| Made::Global(name.to_string());
        let ints = |values: &[i32]| values.iter().map(|&i| Made::Int(i)).collect::<Vec<_>>();
        // The values that `numpy.ndarray.__reduce__` and `numpy.dtype.__reduce__` return for float32.
        let state = [
            ints(&[3]),
            vec![text("<")],
            vec![Made::None; 3],
            ints(&[-1, -1, 0]),
        ];
        let dtype = Made::Object(Box::new((
            global("numpy.dtype"),
            Made::Tuple(vec![text("f4"), Made::Bool(false), Made::Bool(true)]),
            Some(Made::Tuple(state.concat())),
        )));
        let array = Made::Object(Box::new((
            global("numpy.core.multiarray._reconstruct"),
            Made::Tuple(vec![
                global("numpy.ndarray"),
                Made::Tuple(ints(&[0])),
                Made::Bytes(b"b".to_vec()),
            ]),
            Some(Made::Tuple(vec![
                Made::Int(1),
                Made::Tuple(ints(&[2, 1])),
                dtype,
                Made::Bool(false),
                Made::Bytes(stored.le_bytes()),
            ])),
        )));
        let wanted = Made::Dict(vec![
            (text("__author__"), text("densecl")),
            (text("matching_heuristics"), Made::Bool(true)),
            (
                text("model"),
                Made::Dict(vec![(text("stem.conv1.norm.weight"), array)]),
            ),
        ]);
        assert_eq!(
            unpickle(&write(&state_dict, false).expect("a backbone")),
            wanted
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let kernel = Stored {
            shape: vec![2, 1, 1, 3],
            values: vec![1.5, -0.0, 3.0, f32::MIN_POSITIVE, -5.0, 6.25],
        };
        let norm = Stored {
            shape: vec![2],
            values: vec![0.1, 0.2],
        };
        let state_dict = StateDict(vec![
            ("layer1.0.conv2.weight".to_string(), Value::Floats(&kernel)),
            ("bn1.running_var".to_string(), Value::Floats(&norm)),
        ]);
        for stride_in_1x1 in [false, true] {
            let bytes = write(&state_dict, stride_in_1x1).expect("a backbone");
            let file = TorchFile::parse(&bytes).expect("a pickle of arrays");
            assert!(file.is_numpy());
            assert_eq!(file.truth(STRIDE_IN_1X1), stride_in_1x1.then_some(true));
            let read = file.state_dict().expect("tensors");
            assert_eq!(read.under, "model");
            let expected = [
                ("res2.0.conv2.weight".to_string(), kernel.clone()),
                ("stem.conv1.norm.running_var".to_string(), norm.clone()),
            ];
            assert_eq!(read.tensors, expected);
            for end in 0..bytes.len() {
                let part = TorchFile::parse(&bytes[..end]).and_then(|file| file.state_dict());
                part.expect_err("cut off");
            }
        }
    }
}
