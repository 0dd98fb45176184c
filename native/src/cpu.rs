//! Instruction sets by name, and `QUAVER_ISA`: the only reader of that variable. [`amx`] asks for what the standard library
//! can't detect.
//!
//! A name that is unknown, or for which this build has no kernels, is an error and never a fallback: who sets the variable
//! wants to know what ran.

use std::env::{self, VarError};
use std::fmt;
use std::str::FromStr;
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

    /// Up to this one, ascending, whatever this machine has: what the dispatcher may choose from on a machine that has them all.
    pub fn and_below(self) -> &'static [Isa] {
        static ALL: [Isa; 5] = Isa::ALL;
        &ALL[..ALL.iter().take_while(|&&isa| isa <= self).count()]
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

impl FromStr for Isa {
    type Err = Error;
    /// From its [`Isa::name`].
    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| Error::UnknownIsa { value: name.to_owned(), known: names(&Self::ALL) })
    }
}

/// The instruction sets that a session may use, ascending: up to the one asked for, else up to that of `QUAVER_ISA`, else all
/// there are.
pub(crate) fn isas(asked: Option<Isa>) -> Result<&'static [Isa], Error> {
    if let Some(isa) = asked {
        return up_to(isa);
    }
    match env::var("QUAVER_ISA") {
        Ok(value) => up_to(value.parse()?),
        Err(VarError::NotPresent) => Ok(Isa::available()),
        Err(VarError::NotUnicode(value)) => up_to(value.to_string_lossy().parse()?),
    }
}

fn up_to(isa: Isa) -> Result<&'static [Isa], Error> {
    let available = Isa::available();
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
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse::<Isa>().expect("its name"), isa);
        }
        for value in ["", "AVX2", "scalar ", "sse2"] {
            assert!(matches!(value.parse::<Isa>(), Err(Error::UnknownIsa { .. })), "{value:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for isa in Isa::ALL {
            match up_to(isa) {
                Ok(isas) => assert_eq!(isas.last(), Some(&isa)),
                Err(error) => assert!(!Isa::available().contains(&isa), "{isa}: {error}"),
            }
        }
    }

    #[test]
    fn each_has_those_below_it() {
        assert_eq!(Isa::Scalar.and_below(), [Isa::Scalar]);
        assert_eq!(Isa::Amx.and_below(), Isa::ALL);
    }
}
