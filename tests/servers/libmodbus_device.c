/* A Modbus device on libmodbus, the reference implementation of the protocol.
 *
 *   libmodbus_device tcp PORT        listens on 127.0.0.1
 *   libmodbus_device rtu TTY UNIT    serves a serial line at 19200 8N1
 *
 * 50 of each: holding register n = n, input register n = 100 + n, even coils and every third discrete
 * input on. Prints "ready" and serves until it is killed.
 */
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 50 };

static void serve(modbus_t *line, modbus_mapping_t *memory)
{
    uint8_t request[MODBUS_MAX_ADU_LENGTH];
    int length;

    while ((length = modbus_receive(line, request)) != -1)
        if (length > 0 && modbus_reply(line, request, length, memory) == -1)
            break;
}

int main(int count, char **arguments)
{
    modbus_mapping_t *memory = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    int tcp = count > 2 && strcmp(arguments[1], "tcp") == 0;
    modbus_t *line;
    int listener;

    for (int n = 0; n < SIZE; n++) {
        memory->tab_registers[n] = n;
        memory->tab_input_registers[n] = 100 + n;
        memory->tab_bits[n] = n % 2 == 0;
        memory->tab_input_bits[n] = n % 3 == 0;
    }
    if (tcp) {
        line = modbus_new_tcp("127.0.0.1", atoi(arguments[2]));
        listener = modbus_tcp_listen(line, 1);
        if (listener == -1)
            return 1;
        puts("ready");
        fflush(stdout);
        while (modbus_tcp_accept(line, &listener) != -1) {
            serve(line, memory);
            modbus_close(line);
        }
    } else {
        line = modbus_new_rtu(arguments[2], 19200, 'N', 8, 1);
        modbus_set_slave(line, atoi(arguments[3]));
        if (modbus_connect(line) == -1)
            return 1;
        puts("ready");
        fflush(stdout);
        for (;;)
            serve(line, memory);
    }
}
