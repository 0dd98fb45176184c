//! Whether this process may use AMX: what the processor has, what the operating system saves, and the permission to use it.
//!
//! Tile registers are 8 KiB of state a thread. Linux saves them only for processes that ask, so that others don't pay for
//! them; an instruction without the permission kills the process. Other systems are not asked: there AMX counts as absent.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// CPUID leaf 1, ECX: the operating system uses XSAVE, so that XCR0 may be read.
const OSXSAVE: u32 = 1 << 27;
/// CPUID leaf 7, EDX: tile registers, and their dot products of bytes.
const AMX_TILE_AND_INT8: u32 = (1 << 24) | (1 << 25);
/// XCR0: the tile configuration and the tiles are enabled.
const XTILECFG_AND_XTILEDATA: u64 = (1 << 17) | (1 << 18);

/// Whether tiles may be used, in every thread. The permission is asked for once a process, and then stays.
pub(crate) fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| on_processor() && enabled() && permit())
}

/// Whether the processor has AMX-TILE and AMX-INT8.
fn on_processor() -> bool {
    let highest = __cpuid(0).eax;
    highest >= 7 && __cpuid_count(7, 0).edx & AMX_TILE_AND_INT8 == AMX_TILE_AND_INT8
}

/// Whether the operating system has enabled tiles at all.
fn enabled() -> bool {
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: OSXSAVE says that the instruction exists and is enabled; XCR0 always does.
    let xcr0 = unsafe { read_xcr0() };
    xcr0 & XTILECFG_AND_XTILEDATA == XTILECFG_AND_XTILEDATA
}

#[target_feature(enable = "xsave")]
fn read_xcr0() -> u64 {
    // SAFETY: the feature is enabled, and register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

/// Asks Linux to save this process's tiles. Threads that exist get the permission too.
#[cfg(target_os = "linux")]
fn permit() -> bool {
    /// Of Linux's `asm/prctl.h`.
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    /// Number of the tiles among the parts of a thread's state.
    const XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this call takes two numbers, and touches no memory of the process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permit() -> bool {
    false
}
