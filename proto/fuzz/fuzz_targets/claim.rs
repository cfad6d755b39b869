#![no_main]

portolan_proto_fuzz::bounded!(portolan_proto_fuzz::entry::claim);
