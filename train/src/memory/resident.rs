//! The memory that this process uses.

/// Resident memory of the process in bytes, code and buffers included; `None` where the system does not report it.
#[cfg(target_os = "linux")]
pub(crate) fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    super::available::number_after(&text, "VmRSS:")?.checked_mul(1024)
}

/// Resident memory of the process in bytes, code and buffers included; `None` where the system does not report it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident() -> Option<u64> {
    use sysinfo::{ProcessesToUpdate, System, get_current_pid};
    let process = get_current_pid().ok()?;
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[process]), false);
    system.process(process).map(|process| process.memory())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts() {
        // Not compared with a measurement before, because other tests in this process free memory meanwhile.
        let held = vec![1u8; 200 << 20];
        let with = resident().expect("the system says");
        assert!(held.iter().step_by(4096).all(|&byte| byte == 1));
        assert!(with >= 200 << 20, "{with}");
    }
}
