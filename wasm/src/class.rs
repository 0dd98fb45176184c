//! Classes of instructions by name: which there are in this build and engine, and which one new sessions use.

use std::cell::Cell;

use thiserror::Error;

use crate::isa::Token;

/// A class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The definition.
    Scalar,
    /// What every engine has.
    Simd128,
    /// A relaxed dot product that may saturate: as `Simd128`, but for models of reduced range.
    Sat,
    /// One that takes signed activations.
    Sdot,
    /// One that takes unsigned activations.
    Usdot,
}

/// A class that can't be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClassError {
    /// No class has this name.
    #[error("there is no class '{name}'; there are {}", names())]
    Unknown {
        /// The name.
        name: String,
    },
    /// It isn't in this build, or the engine's instructions are of another.
    #[error("class '{}' is not to be had here, {} is", class.name(), Class::best().name())]
    Unavailable {
        /// The class.
        class: Class,
    },
    /// The build's kernels are for engines of another kind.
    #[error(
        "this engine's relaxed dot product saturates, and this build of the module is for those that don't: load the build 'sat', or 'base'"
    )]
    Engine,
}

impl ClassError {
    /// What the error is about, for programs: what is asked for, or what the engine has.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::Unavailable { .. } => "input",
            Self::Engine => "unsupported",
        }
    }
}

thread_local! {
    static FORCED: Cell<Option<Class>> = const { Cell::new(None) };
}

impl Class {
    /// All of them, ascending.
    pub const ALL: [Class; 5] = [Class::Scalar, Class::Simd128, Class::Sat, Class::Sdot, Class::Usdot];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Simd128 => "simd128",
            Self::Sat => "sat",
            Self::Sdot => "sdot",
            Self::Usdot => "usdot",
        }
    }

    /// Whether this build and this engine have it. A relaxed dot product is of one class only, but any takes activations of
    /// reduced range.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Simd128 => Token::simd128().is_some(),
            Self::Sat => Token::sat().is_some(),
            Self::Sdot => Token::sdot().is_some(),
            Self::Usdot => Token::usdot().is_some(),
        }
    }

    /// Those that this build and this engine have, ascending.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(|class| class.is_available())
    }

    /// The fastest that there is.
    pub fn best() -> Self {
        Self::available().next_back().unwrap_or(Self::Scalar)
    }

    /// The one that sessions opened now use: [`Class::best`], or the one forced.
    ///
    /// # Errors
    /// [`ClassError::Engine`] where there is none but [`Class::Scalar`], which has to be asked for.
    pub fn current() -> Result<Self, ClassError> {
        match FORCED.get() {
            Some(class) => Ok(class),
            None => Some(Self::best()).filter(|&class| class != Self::Scalar).ok_or(ClassError::Engine),
        }
    }

    /// Makes sessions that are opened from now on use the class of that name; of an empty name, the best.
    ///
    /// # Errors
    /// [`ClassError`].
    pub fn force(name: &str) -> Result<(), ClassError> {
        if name.is_empty() {
            FORCED.set(None);
            return Ok(());
        }
        let found = Self::ALL.into_iter().find(|class| class.name() == name);
        let class = found.ok_or_else(|| ClassError::Unknown { name: name.to_owned() })?;
        if !class.is_available() {
            return Err(ClassError::Unavailable { class });
        }
        FORCED.set(Some(class));
        Ok(())
    }

    /// The tokens of products whose activations may be any, and of those up to 127; `None` for the definition.
    pub(crate) fn tokens(self) -> Option<[Token; 2]> {
        let both = |token: Option<Token>| token.map(|token| [token; 2]);
        match self {
            Self::Scalar => None,
            Self::Simd128 => both(Token::simd128()),
            Self::Sat => Some([Token::simd128()?, Token::sat()?]),
            Self::Sdot => both(Token::sdot()),
            Self::Usdot => both(Token::usdot()),
        }
    }
}

fn names() -> String {
    Class::ALL.map(Class::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_forced_by_its_name() {
        assert_eq!(Class::current().expect("there is one"), Class::Simd128);
        Class::force("scalar").expect("always there");
        assert_eq!(Class::current().expect("there is one"), Class::Scalar);
        let refused = Class::force("usdot").expect_err("this is no engine of WebAssembly");
        assert_eq!(refused.to_string(), "class 'usdot' is not to be had here, simd128 is");
        let unknown = Class::force("avx2").expect_err("no class");
        assert_eq!(unknown.to_string(), "there is no class 'avx2'; there are scalar, simd128, sat, sdot, usdot");
        assert_eq!(Class::current().expect("there is one"), Class::Scalar);
        Class::force("").expect("always");
        assert_eq!(Class::current().expect("there is one"), Class::Simd128);
    }
}
