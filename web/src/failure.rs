//! What goes wrong, as JavaScript catches it.

use wasm_bindgen::prelude::wasm_bindgen;

/// A type for programs and words for people.
#[wasm_bindgen]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: &'static str,
    message: String,
}

#[wasm_bindgen]
impl Failure {
    /// One of the stable types of `EngineError` in `js/engine.js`.
    #[wasm_bindgen(getter, js_name = type)]
    pub fn kind(&self) -> String {
        self.kind.to_string()
    }

    /// One line: what was expected, what was found.
    #[wasm_bindgen(getter)]
    pub fn message(&self) -> String {
        self.message.clone()
    }
}

impl Failure {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A request that our own JavaScript should not have made.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new("worker", message)
    }
}

impl From<densecl::Error> for Failure {
    fn from(error: densecl::Error) -> Self {
        use densecl::Error as E;
        let kind = match error {
            E::Format(_) => "unsupported-weights",
            E::Mismatch(_) | E::Config { .. } | E::NotFinite(_) => "wrong-weights",
            E::Device(_) => "device",
            _ => "worker",
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_core_get_the_types_that_the_element_promises() {
        let kind = |error: densecl::Error| Failure::from(error).kind;
        assert_eq!(
            kind(densecl::Error::Format(String::new())),
            "unsupported-weights"
        );
        assert_eq!(
            kind(densecl::Error::Mismatch(String::new())),
            "wrong-weights"
        );
        assert_eq!(kind(densecl::Error::Device(String::new())), "device");
    }
}
