//! Puts the lab together: namespaces, cables, addresses, routes and kernel settings.

use std::sync::Arc;

use anyhow::Result;

use super::address::{self, Dual};
use super::host::Host;
use super::netns::Netns;
use super::node::Node;
use super::{Lab, Layout, Site};

/// What every namespace gets before its first link appears, so that `default` reaches all of them.
///
/// Strict source checks and duplicate address detection are off: the first would drop what ECMP brings in by
/// another way than it leaves, the second makes every new IPv6 address wait for a second.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// What forwards: nodes and routers. Hash policy 1 spreads by ports as well, as hardware routers do (layer 4).
const FORWARDING: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/fib_multipath_hash_policy", "1"),
    ("ipv6/fib_multipath_hash_policy", "1"),
];

pub(super) fn build(site: Arc<Site>, layout: Layout) -> Result<Lab> {
    let switch = mk_switch(&site)?;
    let outside = mk_outside(&site, &switch)?;
    let routers = (1..=layout.routers).map(|number| mk_router(&site, &switch, number, layout));
    let routers = routers.collect::<Result<Vec<_>>>()?;
    let clients = (1..=layout.routers).map(|number| mk_client(&site, number));
    let clients = clients.collect::<Result<Vec<_>>>()?;
    let lan_client = mk_lan_client(&site, &switch)?;
    let nodes = (1..=layout.nodes).map(|number| mk_node(&site, &switch, number, layout));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    Ok(Lab {
        nodes,
        routers,
        clients,
        lan_client,
        outside,
        switch,
        site,
    })
}

/// Snooping stays off: a bridge that learns from MLD would hide a responder that forgets to join its groups only
/// on networks that have a querier, and this one has none.
fn mk_switch(site: &Site) -> Result<Netns> {
    let switch = Netns::create(site.slot.namespace("switch"))?;
    switch.sysctl(SETTINGS)?;
    switch.ip(&[
        "link add lan type bridge mcast_snooping 0",
        "link set lan up",
        "link add island type bridge mcast_snooping 0",
        "link set island up",
        "link add mgmt type bridge mcast_snooping 0",
        "link set mgmt up",
    ])?;
    Ok(switch)
}

fn mk_outside(site: &Arc<Site>, switch: &Netns) -> Result<Host> {
    let uplink = site.slot.uplink();
    let address = address::management(site.slot.number(), 1);
    Netns::root().ip(&[
        format!(
            "link add {uplink} type veth peer name root netns {}",
            switch.name().unwrap_or_default()
        ),
        format!("addr add {address}/24 dev {uplink}"),
        format!("link set {uplink} up"),
    ])?;
    switch.ip(&["link set root master mgmt", "link set root up"])?;
    Host::new(site, "outside", Netns::root(), switch, None, Some(address))
}

fn mk_router(site: &Arc<Site>, switch: &Netns, number: u8, layout: Layout) -> Result<Host> {
    let name = format!("router-{number}");
    let netns = mk_namespace(site, &name, true)?;
    let lan = address::lan(number);
    plug_into_lan(switch, &netns, &name, lan)?;
    let others = (1..=layout.routers).filter(|other| *other != number);
    netns.ip(&others.flat_map(routes_to_edge).collect::<Vec<_>>())?;
    Host::new(site, &name, netns, switch, Some(lan), None)
}

/// The client of router `number`, on a cable of its own.
fn mk_client(site: &Arc<Site>, number: u8) -> Result<Host> {
    let name = format!("client-{number}");
    let netns = mk_namespace(site, &name, false)?;
    let router = site.slot.namespace(&format!("router-{number}"));
    let (near, far) = (address::edge(number, 1), address::edge(number, 2));
    netns.ip(&[format!(
        "link add eth0 type veth peer name eth1 netns {router}"
    )])?;
    Netns::existing(router).ip(&address_lines("eth1", near, address::EDGE_LENGTH))?;
    let mut lines = address_lines("eth0", far, address::EDGE_LENGTH);
    lines.extend(default_routes(near));
    netns.ip(&lines)?;
    let switch = Netns::existing(site.slot.namespace("switch"));
    Host::new(site, &name, netns, &switch, Some(far), None)
}

fn mk_lan_client(site: &Arc<Site>, switch: &Netns) -> Result<Host> {
    let netns = mk_namespace(site, "lan-client", false)?;
    let lan = address::lan(address::LAN_CLIENT);
    plug_into_lan(switch, &netns, "lan-client", lan)?;
    netns.ip(&default_routes(address::lan(1)))?;
    Host::new(site, "lan-client", netns, switch, Some(lan), None)
}

/// A node routes to the pods of all others by their LAN addresses, as a simple CNI plugin does.
fn mk_node(site: &Arc<Site>, switch: &Netns, number: u8, layout: Layout) -> Result<Node> {
    let name = format!("node-{number}");
    let netns = mk_namespace(site, &name, true)?;
    let lan = address::lan(address::node_place(number));
    plug_into_lan(switch, &netns, &name, lan)?;
    let management = address::management(site.slot.number(), address::node_place(number));
    plug(switch, &netns, &name, "mgmt", "mgmt0")?;
    let mut lines = vec![
        format!("addr add {management}/24 dev mgmt0"),
        "link set mgmt0 up".into(),
    ];
    lines.extend(default_routes(address::lan(1)));
    lines.extend((2..=layout.routers).flat_map(routes_to_edge));
    lines.extend(
        (1..=layout.nodes)
            .filter(|other| *other != number)
            .flat_map(|other| {
                let (via, (pods4, pods6)) = (
                    address::lan(address::node_place(other)),
                    address::pod_network(other),
                );
                [
                    format!("route add {pods4} via {}", via.v4),
                    format!("route add {pods6} via {}", via.v6),
                ]
            }),
    );
    netns.ip(&lines)?;
    let host = Host::new(site, &name, netns, switch, Some(lan), Some(management))?;
    Ok(Node::new(host, number))
}

fn mk_namespace(site: &Site, host: &str, forwards: bool) -> Result<Netns> {
    let netns = Netns::create(site.slot.namespace(host))?;
    netns.sysctl(SETTINGS)?;
    if forwards {
        netns.sysctl(FORWARDING)?;
    }
    Ok(netns)
}

/// A pod behind a node: the node's end answers as the pod's gateway, the pod's address is a host route.
pub(super) fn mk_pod(site: &Site, node: &Node, name: &str, place: u8) -> Result<(Netns, Dual)> {
    let netns = mk_namespace(site, &format!("{}-{name}", node.host.name()), false)?;
    let inside = netns.name().unwrap_or_default();
    let (gateway, pod) = (
        address::pod(node.number(), 1),
        address::pod(node.number(), place),
    );
    let port = format!("pod{place}");
    node.host.netns().ip(&[
        format!("link add {port} type veth peer name eth0 netns {inside}"),
        format!("addr add {}/32 dev {port}", gateway.v4),
        format!("addr add {}/128 dev {port} nodad", gateway.v6),
        format!("link set {port} up"),
        format!("route add {}/32 dev {port}", pod.v4),
        format!("route add {}/128 dev {port}", pod.v6),
    ])?;
    let mut lines = address_lines("eth0", pod, (32, 128));
    lines.push(format!("route add {}/32 dev eth0", gateway.v4));
    lines.push(format!("route add {}/128 dev eth0", gateway.v6));
    lines.extend(default_routes(gateway));
    netns.ip(&lines)?;
    Ok((netns, pod))
}

fn plug_into_lan(switch: &Netns, netns: &Netns, host: &str, lan: Dual) -> Result<()> {
    plug(switch, netns, host, "lan", "eth0")?;
    netns.ip(&address_lines("eth0", lan, address::LAN_LENGTH))
}

/// A cable from `link` of a host to a bridge; the switch's end is named after both.
fn plug(switch: &Netns, netns: &Netns, host: &str, bridge: &str, link: &str) -> Result<()> {
    let port = switch_port(host, bridge);
    let inside = netns.name().unwrap_or_default();
    switch.ip(&[
        format!("link add {port} type veth peer name {link} netns {inside}"),
        format!("link set {port} master {bridge}"),
        format!("link set {port} up"),
    ])
}

/// Fits in the 15 characters of a link name: `node-100-mgmt`, `lan-client-lan`.
pub(super) fn switch_port(host: &str, bridge: &str) -> String {
    format!("{host}-{bridge}")
}

fn address_lines(link: &str, address: Dual, length: (u8, u8)) -> Vec<String> {
    vec![
        format!("addr add {}/{} dev {link}", address.v4, length.0),
        format!("addr add {}/{} dev {link} nodad", address.v6, length.1),
        format!("link set {link} up"),
    ]
}

fn default_routes(via: Dual) -> [String; 2] {
    [
        format!("route add 0.0.0.0/0 via {}", via.v4),
        format!("route add ::/0 via {}", via.v6),
    ]
}

fn routes_to_edge(router: u8) -> [String; 2] {
    let (via, (net4, net6)) = (address::lan(router), address::edge_network(router));
    [
        format!("route add {net4} via {}", via.v4),
        format!("route add {net6} via {}", via.v6),
    ]
}
