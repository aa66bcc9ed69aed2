# message_types.awk - takes structs and constants of the service's messages out of ensign.h, for messages.h
BEGIN { print "/* Made from ensign.h by tools/ensignd/message_types.awk: do not edit. */" }
/BEGIN GENERATED/ { generated = 1 }
/END GENERATED/ { generated = 0 }
generated && /^(enum|typedef struct) / { inside = 1 }
inside {
    gsub(/ensi_pb_/, "msg_")
    gsub(/ENSI_PB_/, "MSG_")
    print
}
/^}|};$/ { inside = 0 }
