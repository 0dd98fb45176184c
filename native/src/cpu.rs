//! Instruction sets by name, and `QUAVER_ISA`: the only reader of that variable. [`amx`] asks for what the standard library
//! can't detect.
//!
//! A name that is unknown, or for which this build has no kernels, is an error and never a fallback: who sets the variable
//! wants to know what ran.

use std::env::{self, VarError};
use std::fmt;
use std::sync::OnceLock;

use crate::Error;
use crate::amx::Amx;
use crate::isa::avx2::Avx2;
use crate::isa::avx512vnni::Avx512Vnni;
use crate::isa::avxvnni::AvxVnni;

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

    /// Those that this machine has and may use, ascending; [`Isa::Scalar`] is always the first.
    pub fn available() -> &'static [Isa] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| Self::ALL.into_iter().filter(|isa| isa.detect()).collect())
    }

    fn detect(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => Avx2::detect().is_some(),
            Isa::AvxVnni => AvxVnni::detect().is_some(),
            Isa::Avx512Vnni => Avx512Vnni::detect().is_some(),
            Isa::Amx => Amx::detect().is_some(),
        }
    }

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

/// The instruction sets that a session may use, ascending: up to the one asked for, else up to that of `QUAVER_ISA`, else all
/// there are.
pub(crate) fn isas(asked: Option<Isa>) -> Result<&'static [Isa], Error> {
    if let Some(isa) = asked {
        return up_to(Some(isa.name()));
    }
    match env::var("QUAVER_ISA") {
        Ok(value) => up_to(Some(&value)),
        Err(VarError::NotPresent) => up_to(None),
        Err(VarError::NotUnicode(value)) => up_to(Some(&value.to_string_lossy())),
    }
}

fn up_to(asked: Option<&str>) -> Result<&'static [Isa], Error> {
    let available = Isa::available();
    let Some(value) = asked else { return Ok(available) };
    let Some(isa) = Isa::ALL.into_iter().find(|isa| isa.name() == value) else {
        return Err(Error::UnknownIsa { value: value.to_owned(), known: names(&Isa::ALL) });
    };
    match available.iter().position(|&have| have == isa) {
        Some(at) => Ok(&available[..=at]),
        None => Err(Error::UnavailableIsa { value: isa.name(), available: names(available) }),
    }
}

fn names(isas: &[Isa]) -> String {
    isas.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        assert_eq!(up_to(Some("scalar")).expect("always there"), [Isa::Scalar]);
        for value in ["", "AVX2", "scalar ", "sse2"] {
            assert!(matches!(up_to(Some(value)), Err(Error::UnknownIsa { .. })), "{value:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for isa in Isa::ALL {
            match up_to(Some(isa.name())) {
                Ok(isas) => assert_eq!(isas.last(), Some(&isa)),
                Err(error) => assert!(!Isa::available().contains(&isa), "{isa}: {error}"),
            }
        }
        assert_eq!(up_to(None).expect("one is there"), Isa::available());
    }
}
