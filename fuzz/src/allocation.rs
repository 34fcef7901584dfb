//! How much memory something takes at its height: what a frame may cost is a small multiple of its length, whatever it claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    HIGHEST.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; the counters are beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        grow(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What every step may take: tables and buffers that exist whatever comes in.
const FIXED: usize = 64 * 1024;

/// Does it, and sees that it took no more than so many bytes for each byte of its input at any moment.
pub(crate) fn bounded<R>(input: usize, per_byte: usize, act: impl FnOnce() -> R) -> R {
    let before = LIVE.load(Ordering::Relaxed);
    HIGHEST.store(before, Ordering::Relaxed);
    let result = act();
    let taken = HIGHEST.load(Ordering::Relaxed) - before;
    assert!(taken <= FIXED + per_byte * input, "{input} bytes of input took {taken} bytes of memory");
    result
}
