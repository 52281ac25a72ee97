//! The errors that JavaScript catches.

use wasm_bindgen::prelude::wasm_bindgen;

/// An error with a type for programs and a message for people.
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

    /// One line that names what was expected and what was found.
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

    /// An error of type `worker` for an invalid request, which the package's own JavaScript should not make.
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
