//! What keeps a default route through a tunnel from leaking, by nftables: packets for the tunnel's own addresses are taken
//! from the tunnel alone, and answers to marked datagrams are marked too, so that reverse-path filters let them pass.

use super::{Family, ProgramError, find_program, run_program};
use crate::config::InterfaceAddress;

/// The program.
const NFT: &str = "nft";

/// The table of one interface, in either family.
#[derive(Clone, Debug)]
pub(crate) struct Firewall<'a> {
    pub(crate) interface: &'a str,
    pub(crate) addresses: &'a [InterfaceAddress],
    /// The mark of the tunnel's own datagrams.
    pub(crate) mark: u32,
}

impl Firewall<'_> {
    /// Whether there is the program that this needs.
    pub(crate) fn is_possible() -> bool {
        find_program(NFT).is_some()
    }

    /// Makes the table of a family, anew where there is one.
    pub(crate) fn add(&self, family: Family) -> Result<(), ProgramError> {
        run_program(NFT, &["-f", "-"], &self.script(family)).map(drop)
    }

    /// Removes the table of a family; nothing happens where there is none.
    pub(crate) fn remove(interface: &str, family: Family) -> Result<(), ProgramError> {
        let name = format!("table {} {}", nft_family(family), table_name(interface));
        // Adding one that exists changes nothing, and then there is one to delete.
        run_program(NFT, &["-f", "-"], &format!("add {name}\ndelete {name}\n")).map(drop)
    }

    /// One transaction: all of it, or nothing.
    fn script(&self, family: Family) -> String {
        let Self { interface, mark, .. } = self;
        let (ip, name) = (nft_family(family), table_name(interface));
        let guards: String = self
            .addresses
            .iter()
            .filter(|one| Family::of(one.address) == family)
            .map(|one| {
                format!(
                    "    iifname != \"{interface}\" {ip} daddr {} fib saddr type != local drop\n",
                    one.address
                )
            })
            .collect();
        format!(
            "add table {ip} {name}\ndelete table {ip} {name}\ntable {ip} {name} {{\n\
             \x20 chain guard {{\n    type filter hook prerouting priority raw; policy accept;\n{guards}  }}\n\
             \x20 chain restore {{\n    type filter hook prerouting priority mangle; policy accept;\n    \
             meta l4proto udp meta mark set ct mark\n  }}\n\
             \x20 chain save {{\n    type filter hook postrouting priority mangle; policy accept;\n    \
             meta l4proto udp meta mark {mark} ct mark set meta mark\n  }}\n}}\n"
        )
    }
}

fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Names of interfaces have characters that those of tables have not; these become their code behind a slash.
fn table_name(interface: &str) -> String {
    let mut name = String::from("dataplane-");
    for character in interface.chars() {
        match character {
            '_' | '-' | '.' => name.push(character),
            _ if character.is_ascii_alphanumeric() => name.push(character),
            _ => name.push_str(&format!("/{:x}", u32::from(character))),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_a_table_with_its_own_addresses_alone() {
        let addresses: Vec<InterfaceAddress> = ["10.0.0.1", "fd00::1"]
            .map(|address| InterfaceAddress { address: address.parse().unwrap(), prefix_len: 24 })
            .into();
        let firewall = Firewall { interface: "wg0", addresses: &addresses, mark: 51820 };
        let v4 = firewall.script(Family::V4);
        assert!(v4.contains("iifname != \"wg0\" ip daddr 10.0.0.1 fib saddr type != local drop"), "{v4}");
        assert!(!v4.contains("fd00") && v4.contains("meta mark 51820 ct mark set meta mark"), "{v4}");
        let v6 = firewall.script(Family::V6);
        assert_eq!(table_name("a+b=_c.d-e"), "dataplane-a/2bb/3d_c.d-e");
        assert!(v6.contains("table ip6 dataplane-wg0 {") && v6.contains("ip6 daddr fd00::1"), "{v6}");
    }
}
