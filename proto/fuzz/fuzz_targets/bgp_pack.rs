#![no_main]

portolan_proto_fuzz::free!(portolan_proto_fuzz::entry::bgp_pack);
