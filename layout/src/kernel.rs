//! What a client's kernel can take in a layout, from the implementation id of its EXCHANGE_ID.
//! A kernel that doesn't prove itself gets the plainest layout: a stripe too many is an EIO there.
//!
//! Never here: the decision whether a client gets a layout at all.

/// A Linux kernel that told its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientKernel {
    pub major: u32,
    pub minor: u32,
}

/// The first kernel that stripes (fact 9), and whose merge of layout segments looks at their data
/// servers (fact 31; some stable kernels before it have the fix, their release doesn't prove it).
const STRIPING: ClientKernel = ClientKernel {
    major: 6,
    minor: 18,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capability {
    /// Takes a mirror of several stripes.
    pub stripes: bool,
    /// Keeps two layout segments with different data servers apart.
    pub many_extents: bool,
}

impl ClientKernel {
    /// `domain` and `name` of `nfs_impl_id4`. Linux sends kernel.org and its utsname:
    /// system, release, version and machine, separated by spaces.
    pub fn parse(domain: &[u8], name: &[u8]) -> Option<Self> {
        if domain != b"kernel.org" {
            return None;
        }
        let mut words = std::str::from_utf8(name).ok()?.split(' ');
        if words.next() != Some("Linux") {
            return None;
        }
        let mut numbers = words.next()?.splitn(3, '.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?;
        let digits = minor
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(minor.len());
        Some(Self {
            major,
            minor: minor[..digits].parse().ok()?,
        })
    }
}

impl Capability {
    /// Of a kernel, or of a client that didn't say what it is.
    pub fn of(kernel: Option<ClientKernel>) -> Self {
        let proved = kernel.is_some_and(|kernel| kernel >= STRIPING);
        Self {
            stripes: proved,
            many_extents: proved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(domain: &str, name: &str) -> Capability {
        Capability::of(ClientKernel::parse(domain.as_bytes(), name.as_bytes()))
    }

    #[test]
    fn kernels_from_6_18_on_stripe() {
        for name in [
            "Linux 6.18.0 #1 SMP PREEMPT_DYNAMIC x86_64",
            "Linux 6.18-rc3 #1 SMP x86_64",
            "Linux 7.2.1-1-user-mode-linux #1 Debian x86_64",
            "Linux 10.0 #1 SMP aarch64",
        ] {
            assert_eq!(
                capability("kernel.org", name),
                Capability {
                    stripes: true,
                    many_extents: true
                },
                "{name}"
            );
        }
    }

    #[test]
    fn fact_9_older_and_unknown_clients_get_no_stripes() {
        for (domain, name) in [
            ("kernel.org", "Linux 6.1.0-44-um #1 Debian 6.1.164-1 x86_64"),
            ("kernel.org", "Linux 6.17.9 #1 SMP x86_64"),
            ("kernel.org", "Linux 5.14.0-503.el9.x86_64 #1 SMP x86_64"),
            ("kernel.org", "Linux"),
            ("kernel.org", "Linux seven.2 x86_64"),
            ("kernel.org", "Linux 7. x86_64"),
            ("kernel.org", ""),
            ("example.org", "Linux 7.2.0 #1 SMP x86_64"),
            ("", ""),
        ] {
            assert_eq!(
                capability(domain, name),
                Capability::default(),
                "{domain} {name}"
            );
        }
    }

    #[test]
    fn a_name_that_is_not_text_is_an_unknown_kernel() {
        assert_eq!(ClientKernel::parse(b"kernel.org", b"Linux \xff.2"), None);
    }
}
