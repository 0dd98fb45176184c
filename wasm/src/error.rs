//! What can go wrong in this crate, whichever host asks for it: a kind for programs, a message for people, and what is known.

use thiserror::Error;

use crate::class::ClassError;
use crate::image::ImageError;
use crate::session::{About, SessionError};

/// An error of any part.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// Of a model or its runs.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Of a class of instructions.
    #[error(transparent)]
    Class(#[from] ClassError),
    /// Of a picture.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl Failure {
    /// What the error is about, for programs: as [`SessionError::kind`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Session(error) => error.kind(),
            Self::Class(error) => error.kind(),
            Self::Image(_) => "input",
        }
    }

    /// What is known of the error, for programs: as [`SessionError::about`].
    pub fn about(&self) -> About {
        match self {
            Self::Session(error) => error.about(),
            Self::Class(_) | Self::Image(_) => About::default(),
        }
    }
}
