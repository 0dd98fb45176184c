//! Why a server can't start, or a file can't be served.

use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why a server can't start, or a file can't be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or folder that can't be read.
    #[error("cannot read '{}': {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A model.
    #[error("cannot serve '{}': {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<quaver::Error>,
    },
    /// A component.
    #[error("cannot serve '{}': {why}", path.display())]
    Component {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A name that paths can't have.
    #[error(
        "'{name}' can't be served under that name: it takes letters, digits, '-', '_' and '.', and starts with a letter or a digit; give NAME=FILE"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A name that two files have.
    #[error("two files would be served as '{name}'; give one of them another name by NAME=FILE")]
    Twice {
        /// The name.
        name: String,
    },
    /// The engine for components.
    #[error("components can't be run here: {0}")]
    Engine(String),
    /// The folder for compiled components.
    #[error("compiled components can't be kept in '{}': {why}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
