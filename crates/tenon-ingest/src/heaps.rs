//! How many heaps the C library keeps.

/// Has glibc keep two heaps for all threads, where it would keep eight a core. Messages that were fetched ahead are memory that
/// one thread takes and another gives back: with many heaps what is given back to one is not there for the next, and a
/// process that follows a topic grows for hours (`docs/decisions/0007`). To be called once, before there are threads; with
/// another C library it does nothing.
pub fn share_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const HEAPS: libc::c_int = 2;
        // SAFETY: mallopt(3) takes two numbers and keeps no pointer; it is safe to call at any time (MT-Safe init).
        #[expect(unsafe_code, reason = "the C library can be told so in no other way while it runs")]
        let told = unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
        if told == 0 {
            tracing::debug!("the C library keeps as many heaps as it likes");
        }
    }
}
