//! Instruction sets by name, and `QUAVER_ISA`: the only reader of that variable. [`amx`] asks for what the standard library
//! can't detect.
//!
//! A name that is unknown, or for which this build has no kernels, is an error and never a fallback: who sets the variable
//! wants to know what ran.

use std::env::{self, VarError};
use std::fmt;

use crate::Error;

pub(crate) mod amx;

/// Instruction sets that kernels are written for, in ascending order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// None: portable code, the definition of every result.
    Scalar,
    /// AVX2.
    Avx2,
    /// AVX-VNNI.
    AvxVnni,
    /// AVX-512 VNNI.
    Avx512Vnni,
    /// AMX-INT8.
    Amx,
}

impl Isa {
    /// All of them, ascending.
    pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni, Isa::Amx];
    /// Those that this build has kernels for, ascending.
    pub const AVAILABLE: &'static [Isa] = &[Isa::Scalar, Isa::Avx512Vnni];

    /// The name in `QUAVER_ISA`, in reports, and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Amx => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The instruction set to use: the one asked for, else that of `QUAVER_ISA`, else the best there is.
pub(crate) fn isa(asked: Option<Isa>) -> Result<Isa, Error> {
    if let Some(isa) = asked {
        return choose(Some(isa.name()));
    }
    match env::var("QUAVER_ISA") {
        Ok(value) => choose(Some(&value)),
        Err(VarError::NotPresent) => choose(None),
        Err(VarError::NotUnicode(value)) => choose(Some(&value.to_string_lossy())),
    }
}

fn choose(asked: Option<&str>) -> Result<Isa, Error> {
    let Some(value) = asked else {
        return Ok(Isa::AVAILABLE.iter().copied().max().unwrap_or(Isa::Scalar));
    };
    let Some(isa) = Isa::ALL.into_iter().find(|isa| isa.name() == value) else {
        return Err(Error::UnknownIsa { value: value.to_owned(), known: names(&Isa::ALL) });
    };
    if Isa::AVAILABLE.contains(&isa) { Ok(isa) } else { Err(Error::UnavailableIsa { value: isa.name(), available: names(Isa::AVAILABLE) }) }
}

fn names(isas: &[Isa]) -> String {
    isas.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        assert_eq!(choose(Some("scalar")).expect("always there"), Isa::Scalar);
        for value in ["", "AVX2", "scalar ", "sse2"] {
            assert!(matches!(choose(Some(value)), Err(Error::UnknownIsa { .. })), "{value:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for isa in Isa::ALL {
            assert_eq!(choose(Some(isa.name())).is_ok(), Isa::AVAILABLE.contains(&isa), "{isa}");
        }
        assert_eq!(choose(None).expect("one is there"), *Isa::AVAILABLE.last().expect("one is there"));
    }
}
