//! What goes back to a client: a status, headers and a body.

use serde::Serialize;

use crate::ProtocolError;

/// The header that says how many of a body's first bytes are JSON; what follows are tensors.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// Bytes of JSON before the tensors, the value of [`HEADER_LENGTH`].
    pub header_length: Option<usize>,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        // Writing strings and numbers into memory can't fail.
        Self { status, content_type: "application/json", header_length: None, body: serde_json::to_vec(value).unwrap_or_default() }
    }

    /// An error as the protocol has it: `{"error":"…"}`.
    pub fn refusal(status: u16, message: &str) -> Self {
        #[derive(Serialize)]
        struct Refusal<'a> {
            error: &'a str,
        }
        Self::json(status, &Refusal { error: message })
    }

    /// Whether something is live or ready; where it isn't, 503.
    pub fn state(key: &'static str, is: bool) -> Self {
        Self::json(if is { 200 } else { 503 }, &std::collections::BTreeMap::from([(key, is)]))
    }
}

impl From<&ProtocolError> for Answer {
    fn from(error: &ProtocolError) -> Self {
        Self::refusal(error.status(), &error.to_string())
    }
}
