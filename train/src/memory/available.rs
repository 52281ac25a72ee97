//! How much memory the system can give this process.

#[cfg(target_os = "linux")]
use std::fs;
#[cfg(target_os = "linux")]
use std::path::Path;

/// Bytes of memory that are free or can be freed; `None` where the system does not report it.
#[cfg(not(target_os = "linux"))]
pub(super) fn memory() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    Some(system.available_memory()).filter(|&bytes| bytes > 0)
}

/// Bytes of memory that are free or can be freed, within the limits of the process's control groups; `None` where
/// the system does not report it.
#[cfg(target_os = "linux")]
pub(super) fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let available = number_after(&text, "MemAvailable:")?.saturating_mul(1024);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let left = left_in_groups(Path::new("/sys/fs/cgroup"), &groups);
    Some(left.map_or(available, |left| left.min(available)))
}

/// The memory left within the limits of the control groups in `groups` (the text of /proc/self/cgroup) and of their
/// ancestors. The page cache is not counted as used, because the kernel frees it on demand.
#[cfg(target_os = "linux")]
fn left_in_groups(root: &Path, groups: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        // cgroup v2 has a single hierarchy without a name; v1 has one hierarchy per resource.
        let (root, limit, used) = if controllers.is_empty() {
            (root.to_path_buf(), "memory.max", "anon ")
        } else if controllers.split(',').any(|name| name == "memory") {
            let root = root.join("memory");
            (root, "memory.limit_in_bytes", "total_rss ")
        } else {
            continue;
        };
        let group = root.join(path.trim_start_matches('/'));
        for group in group
            .ancestors()
            .take_while(|group| group.starts_with(&root))
        {
            let read = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default();
            // "max" means no limit.
            let Ok(limit) = read(limit).trim().parse::<u64>() else {
                continue;
            };
            let used = number_after(&read("memory.stat"), used).unwrap_or(0);
            let left = limit.saturating_sub(used);
            least = Some(least.map_or(left, |least| least.min(left)));
        }
    }
    least
}

/// The number that follows `key` at the beginning of a line.
#[cfg(target_os = "linux")]
pub(super) fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_system_says_how_much_there_is() {
        let bytes = memory().expect("/proc/meminfo is there");
        assert!(bytes > 1 << 20, "{bytes}");
    }

    #[test]
    fn the_tightest_group_decides_and_cached_files_do_not_count() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("written");
        };
        let left = |groups| left_in_groups(root.path(), groups);
        assert_eq!(left("0::/a/b\n"), None);

        write("a/b/memory.max", "max\n");
        write("a/memory.max", "5000\n");
        write("a/memory.stat", "anon 1200\nfile 3000\n");
        assert_eq!(left("0::/a/b\n"), Some(3800));
        write("a/b/memory.max", "2000\n");
        write("a/b/memory.stat", "anon 2500\n");
        assert_eq!(left("0::/a/b\n"), Some(0));
        assert_eq!(left("0::/\n1:cpu:/a/b\nnonsense"), None);

        write("memory/c/memory.limit_in_bytes", "900\n");
        write("memory/c/memory.stat", "rss 1\ntotal_rss 100\n");
        assert_eq!(left("7:cpuacct,memory:/c\n0::/\n"), Some(800));
        // In a container the process may see its own group as the root, so the path of the group does not exist.
        write("memory/memory.limit_in_bytes", "700\n");
        assert_eq!(left("4:memory:/elsewhere\n"), Some(700));
    }
}
