# message_types.awk - takes structs and constants of the services' messages out of ensign.h and group_messages.h,
# for the messages.h of either program
BEGIN { print "/* Made from ensign.h and group_messages.h by tools/common/message_types.awk: do not edit. */" }
/BEGIN GENERATED/ { generated = 1 }
/END GENERATED/ { generated = 0 }
generated && /^(enum|typedef struct) / { inside = 1 }
inside {
    gsub(/ensi_pb_/, "msg_")
    gsub(/ENSI_PB_/, "MSG_")
    print
}
/^}|};$/ { inside = 0 }
