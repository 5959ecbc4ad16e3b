// Devices upon node-bacnet as a process of its own. It is told what to be by the first line of its standard input,
// JSON, and what to do by the further ones; it ends with its input. Each line is answered by one on standard output:
// {"ok": ...} or {"error": ...}. What both are is said in servers/bacnet_device.py.
//
// node-bacnet has no server: it decodes requests and encodes replies, and what is between is here. Replies are never
// segmented.
"use strict";

const readline = require("node:readline");
const Bacnet = require("node-bacnet");
const apdu = require("node-bacnet/lib/apdu");
const npdu = require("node-bacnet/lib/npdu");
const { ApplicationTag: Tag, ...bacnet } = Bacnet.enum;
const { ErrorClass, ErrorCode, ObjectType, PropertyIdentifier: Property } = bacnet;

const WHOLE = bacnet.ASN1_ARRAY_ALL;
const REPLY = 1400; // octets that a reply may have
const PRIORITIES = 16;
const VENDOR = 999;
const SERVICES = ["subscribeCov", "readProperty", "readPropertyMultiple", "writeProperty", "whoIs"];
const COMMANDED = new Set(["analog-output", "analog-value", "binary-output", "binary-value", "multi-state-output", "multi-state-value"]);
// As the standard writes it, where node-bacnet does not.
const STANDARD = { subscribeCov: "subscribeCOV" };

const spelled = (name) => name.toUpperCase().replaceAll("-", "_");
const known = (names, name) => {
    const found = names[spelled(name)];
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
};
const hyphened = (names, number) => Object.keys(names).find((name) => names[name] === number).toLowerCase().replaceAll("_", "-");

class Refused extends Error {
    constructor(kind, reason) {
        super(`${kind} ${reason}`);
        this.kind = kind;
        this.reason = reason;
    }
}

class Item {
    constructor(device, entry) {
        this.device = device;
        this.kind = entry.type;
        this.id = { type: known(ObjectType, entry.type), instance: entry.instance };
        this.properties = new Map();
        this.subscriptions = new Map();
        this.priorities = COMMANDED.has(entry.type) ? Array(PRIORITIES).fill(null) : null;
        this.put("object-name", [{ type: Tag.CHARACTER_STRING, value: entry.name || `${entry.type}-${entry.instance}` }]);
        this.put("status-flags", [{ type: Tag.BIT_STRING, value: { value: [0], bitsUsed: 4 } }]);
        this.put("event-state", [{ type: Tag.ENUMERATED, value: 0 }]);
        this.put("out-of-service", [{ type: Tag.BOOLEAN, value: false }]);
        if (entry.type.startsWith("analog")) {
            const units = entry.units || "no-units";
            this.put("units", [{ type: Tag.ENUMERATED, value: known(bacnet.EngineeringUnits, units) }]);
        }
        if (entry.type.startsWith("multi-state")) {
            const texts = entry.states || ["1", "2", "3"];
            this.put("number-of-states", [{ type: Tag.UNSIGNED_INTEGER, value: texts.length }]);
            this.put("state-text", texts.map((value) => ({ type: Tag.CHARACTER_STRING, value })));
        }
        this.start = this.encoded(entry.value);
        this.put("present-value", [this.start]);
        for (const [name, value] of Object.entries(entry.properties || {})) this.set(name, value);
    }

    put(name, values) {
        this.properties.set(known(Property, name), values);
    }

    encoded(value) {
        if (value === null) return { type: Tag.NULL, value: null };
        if (this.kind.startsWith("analog")) return { type: Tag.REAL, value };
        if (this.kind.startsWith("binary")) return { type: Tag.ENUMERATED, value: value === "active" ? 1 : 0 };
        return { type: Tag.UNSIGNED_INTEGER, value };
    }

    told({ type, value }) {
        if (type === Tag.ENUMERATED && this.kind.startsWith("binary")) return value ? "active" : "inactive";
        return value;
    }

    get value() {
        return this.properties.get(Property.PRESENT_VALUE)[0];
    }

    command(encoded, priority) {
        if (this.priorities === null) {
            this.put("present-value", [encoded]);
        } else {
            this.priorities[(priority || PRIORITIES) - 1] = encoded.type === Tag.NULL ? null : encoded;
            this.put("present-value", [this.priorities.find((one) => one !== null) || this.start]);
        }
        this.notify();
    }

    set(name, value, priority) {
        if (name === "present-value") return this.command(this.encoded(value), priority);
        const was = this.properties.get(known(Property, name));
        if (name === "status-flags") {
            const octet = value.reduce((sum, bit, place) => sum | (bit << place), 0);
            this.put(name, [{ type: Tag.BIT_STRING, value: { value: [octet], bitsUsed: 4 } }]);
        } else if (name === "reliability") {
            this.put(name, [{ type: Tag.ENUMERATED, value: known(bacnet.Reliability, value) }]);
        } else if (typeof value === "boolean") {
            this.put(name, [{ type: Tag.BOOLEAN, value }]);
        } else {
            const type = was ? was[0].type : typeof value === "string" ? Tag.CHARACTER_STRING : Tag.REAL;
            this.put(name, [].concat(value).map((one) => ({ type, value: one })));
        }
        this.notify();
    }

    get(property) {
        const all = this.whole(property.id);
        if (all === undefined) throw new Refused("property", "unknown-property");
        if (property.index === WHOLE || property.index === undefined) return all;
        if (property.index === 0) return [{ type: Tag.UNSIGNED_INTEGER, value: all.length }];
        if (property.index > all.length) throw new Refused("property", "invalid-array-index");
        return [all[property.index - 1]];
    }

    whole(id) {
        if (id === Property.OBJECT_IDENTIFIER) return [{ type: Tag.OBJECTIDENTIFIER, value: this.id }];
        if (id === Property.OBJECT_TYPE) return [{ type: Tag.ENUMERATED, value: this.id.type }];
        if (id === Property.PRIORITY_ARRAY && this.priorities) return this.priorities.map((one) => one || { type: Tag.NULL, value: null });
        if (id === Property.RELINQUISH_DEFAULT && this.priorities) return [this.start];
        return this.properties.get(id);
    }

    notify(only) {
        for (const subscription of only ? [only] : this.subscriptions.values()) {
            const remaining = subscription.lifetime ? Math.max(0, Math.round((subscription.until - Date.now()) / 1000)) : 0;
            const values = [Property.PRESENT_VALUE, Property.STATUS_FLAGS].map((id) => ({ property: { id }, value: this.properties.get(id) }));
            const { sender, process, confirmed } = subscription;
            const own = this.device.instance;
            if (confirmed) {
                const done = () => {}; // It is not sent again.
                this.device.client.confirmedCOVNotification(sender, this.id, process, own, remaining, values, {}, done);
            } else {
                this.device.client.unconfirmedCOVNotification(sender.address, process, own, this.id, remaining, values);
            }
        }
    }
}

class Device {
    constructor(config) {
        this.instance = config.instance;
        this.config = config;
        this.counts = {};
        this.written = [];
        this.refusals = new Map();
        this.delay = 0;
        this.silent = false;
        this.items = new Map();
        for (const entry of config.objects) this.add(entry);
        if (config.rpm === false) this.refusals.set("readPropertyMultiple", ["reject", "unrecognized-service"]);
        if (config.cov === false) this.refusals.set("subscribeCOV", ["reject", "unrecognized-service"]);
    }

    add(entry) {
        this.items.set(`${entry.type},${entry.instance}`, new Item(this, entry));
    }

    start() {
        const { address, port = 47808, broadcast } = this.config;
        const own = { port, interface: broadcast ? undefined : address, broadcastAddress: broadcast || address };
        this.client = new Bacnet({ ...own, reuseAddr: false, apduTimeout: 1000 });
        for (const service of SERVICES) {
            this.client.on(service, (message) => this.take(service, message));
        }
        this.client.on("unhandledEvent", (message) => this.take("", message));
        return new Promise((resolve, reject) => {
            this.client.on("listening", resolve);
            this.client.on("error", reject);
        });
    }

    take(service, message) {
        const name = STANDARD[service] || service || `service ${message.service}`;
        this.counts[name] = (this.counts[name] || 0) + 1;
        if (this.silent) return;
        if (this.delay) setTimeout(() => this.answer(service, name, message), this.delay * 1000);
        else this.answer(service, name, message);
    }

    answer(service, name, message) {
        try {
            const [kind, reason] = this.refusals.get(name) || (service ? [] : ["reject", "unrecognized-service"]);
            if (kind) throw new Refused(kind, reason);
            this[service](message);
        } catch (error) {
            if (!message.header.confirmedService) return;
            if (error instanceof RangeError) this.refuse(message, "abort", "segmentation-not-supported");
            else if (error instanceof Refused) this.refuse(message, error.kind, error.reason);
            else {
                console.error(error);
                this.refuse(message, "device", "operational-problem");
            }
        }
    }

    refuse(message, kind, reason) {
        const { sender } = message.header;
        if (kind === "reject" || kind === "abort") {
            const abort = kind === "abort";
            const buffer = this.client._getBuffer(sender.forwardedFrom);
            npdu.encode(buffer, 0, sender);
            const octets = abort
                ? [bacnet.PduType.ABORT | 1, message.invokeId, known(bacnet.AbortReason, reason)]
                : [bacnet.PduType.REJECT, message.invokeId, known(bacnet.RejectReason, reason)];
            for (const octet of octets) buffer.buffer[buffer.offset++] = octet;
            this.client.sendBvlc(sender, buffer);
        } else {
            const [errorClass, errorCode] = [known(ErrorClass, kind), known(ErrorCode, reason)];
            this.client.errorResponse(sender, message.service, message.invokeId, errorClass, errorCode);
        }
    }

    whoIs({ header, payload }) {
        const { lowLimit, highLimit } = payload || {};
        if (lowLimit !== undefined && (this.instance < lowLimit || this.instance > highLimit)) return;
        this.iAm(header.sender);
    }

    iAm(receiver) {
        this.client.iAmResponse(receiver, this.instance, bacnet.Segmentation.NO_SEGMENTATION, VENDOR);
    }

    find({ type, instance }) {
        if (type === ObjectType.DEVICE && (instance === this.instance || instance === bacnet.ASN1_MAX_INSTANCE)) return this;
        for (const item of this.items.values()) {
            if (item.id.type === type && item.id.instance === instance) return item;
        }
        throw new Refused("object", "unknown-object");
    }

    // As an object of its own.

    get id() {
        return { type: ObjectType.DEVICE, instance: this.instance };
    }

    get(property) {
        return Item.prototype.get.call(this, property);
    }

    whole(id) {
        const text = (value) => [{ type: Tag.CHARACTER_STRING, value }];
        const number = (value) => [{ type: Tag.UNSIGNED_INTEGER, value }];
        const bits = (items) => [{ type: Tag.BIT_STRING, value: Bacnet.createBitstring(items) }];
        const supported = bacnet.ServicesSupported;
        switch (id) {
            case Property.OBJECT_IDENTIFIER: return [{ type: Tag.OBJECTIDENTIFIER, value: this.id }];
            case Property.OBJECT_TYPE: return [{ type: Tag.ENUMERATED, value: ObjectType.DEVICE }];
            case Property.OBJECT_NAME: return text(this.config.name || `device-${this.instance}`);
            case Property.DESCRIPTION: return text(this.config.description || "");
            case Property.VENDOR_NAME: return text(this.config.vendorName || "Callboard");
            case Property.VENDOR_IDENTIFIER: return number(VENDOR);
            case Property.MODEL_NAME: return text(this.config.modelName || "node-bacnet");
            case Property.FIRMWARE_REVISION: return text("1.0");
            case Property.APPLICATION_SOFTWARE_VERSION: return text("1.0");
            case Property.PROTOCOL_VERSION: return number(1);
            case Property.PROTOCOL_REVISION: return number(14);
            case Property.SYSTEM_STATUS: return [{ type: Tag.ENUMERATED, value: 0 }];
            case Property.MAX_APDU_LENGTH_ACCEPTED: return number(1476);
            case Property.SEGMENTATION_SUPPORTED: return [{ type: Tag.ENUMERATED, value: bacnet.Segmentation.NO_SEGMENTATION }];
            case Property.APDU_TIMEOUT: return number(1000);
            case Property.NUMBER_OF_APDU_RETRIES: return number(1);
            case Property.DATABASE_REVISION: return number(1);
            case Property.PROTOCOL_SERVICES_SUPPORTED:
                return bits(
                    ["subscribeCOV", "readProperty", "readPropertyMultiple", "writeProperty", "whoIs"]
                        .filter((name) => !this.refusals.has(name))
                        .map((name) => supported[name.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase()])
                        .filter((bit) => bit !== undefined)
                        .sort((one, other) => one - other),
                );
            case Property.OBJECT_LIST:
                return [this.id, ...[...this.items.values()].map((item) => item.id)].map((value) => ({ type: Tag.OBJECTIDENTIFIER, value }));
            default: return undefined;
        }
    }

    get properties() {
        const ids = Object.values(Property).filter((id) => id < 512 && this.whole(id) !== undefined);
        return new Map(ids.map((id) => [id, this.whole(id)]));
    }

    readProperty({ header, invokeId, payload }) {
        const { objectId, property } = payload;
        const found = this.find(objectId);
        const values = found.get(property);
        this.within(values);
        this.client.readPropertyResponse(header.sender, invokeId, found.id, property, values);
    }

    readPropertyMultiple({ header, invokeId, payload }) {
        const results = payload.properties.map(({ objectId, properties }) => ({
            objectId,
            values: this.expanded(objectId, properties).map((property) => ({ property, value: this.result(objectId, property) })),
        }));
        this.within(results.flatMap(({ values }) => values.flatMap(({ value }) => [{}, ...value])));
        this.client.readPropertyMultipleResponse(header.sender, invokeId, results);
    }

    // Refuses what has no room in one APDU: its octets, and some for what names each value.
    within(values) {
        const size = ({ value }) => (typeof value === "string" ? value.length + 4 : 6);
        if (values.reduce((sum, value) => sum + size(value), 20) > REPLY) throw new Refused("abort", "segmentation-not-supported");
    }

    expanded(objectId, properties) {
        return properties.flatMap((property) => {
            if (![Property.ALL, Property.REQUIRED].includes(property.id)) return [property];
            return [...this.find(objectId).properties.keys()].map((id) => ({ id, index: WHOLE }));
        });
    }

    result(objectId, property) {
        try {
            return this.find(objectId).get(property);
        } catch (error) {
            if (!(error instanceof Refused)) throw error;
            const value = { type: "BacnetError", errorClass: known(ErrorClass, error.kind), errorCode: known(ErrorCode, error.reason) };
            return [{ value }];
        }
    }

    writeProperty({ header, invokeId, service, payload }) {
        const { objectId, value: { property, value: [encoded], priority } } = payload;
        const item = this.find(objectId);
        if (item === this || property.id !== Property.PRESENT_VALUE || item.kind.endsWith("-input")) {
            throw new Refused("property", "write-access-denied");
        }
        if (encoded.type !== Tag.NULL && encoded.type !== item.start.type) throw new Refused("property", "invalid-data-type");
        item.command({ type: encoded.type, value: encoded.value }, priority);
        const object = `${item.kind},${item.id.instance}`;
        const told = encoded.type === Tag.NULL ? null : item.told(encoded);
        this.written.push({ object, property: hyphened(Property, property.id), value: told, priority });
        this.client.simpleAckResponse(header.sender, service, invokeId);
    }

    subscribeCov({ header, invokeId, service, payload }) {
        const item = this.find(payload.monitoredObjectId);
        if (item === this) throw new Refused("services", "optional-functionality-not-supported");
        const key = `${header.sender.address} ${payload.subscriberProcessId}`;
        const lasting = item.subscriptions.get(key);
        if (lasting) clearTimeout(lasting.timer);
        item.subscriptions.delete(key);
        this.client.simpleAckResponse(header.sender, service, invokeId);
        if (payload.cancellationRequest) return;
        const { issueConfirmedNotifications: confirmed, lifetime = 0 } = payload;
        const subscription = { sender: header.sender, process: payload.subscriberProcessId, confirmed, lifetime };
        subscription.until = Date.now() + lifetime * 1000;
        if (lifetime) subscription.timer = setTimeout(() => item.subscriptions.delete(key), lifetime * 1000);
        item.subscriptions.set(key, subscription);
        item.notify(subscription);
    }
}

class Devices {
    constructor(config) {
        this.devices = new Map(config.devices.map((one) => [one.instance, new Device(one)]));
    }

    async start() {
        for (const device of this.devices.values()) await device.start();
        return [...this.devices.keys()];
    }

    one(instance) {
        return instance === undefined || instance === null ? [...this.devices.values()][0] : this.devices.get(instance);
    }

    item(object, device) {
        return this.one(device).items.get(object);
    }

    set({ object, value, property = "present-value", priority, device }) {
        this.item(object, device).set(property, value, priority);
    }

    read({ object, property = "present-value", device }) {
        const item = this.item(object, device);
        const values = item.get({ id: known(Property, property) }).map((one) => item.told(one));
        return values.length === 1 ? values[0] : values;
    }

    written({ device }) {
        return this.one(device).written;
    }

    forget({ device }) {
        this.one(device).written = [];
        this.one(device).counts = {};
    }

    counts({ device }) {
        return this.one(device).counts;
    }

    refuse({ service, kind = "reject", reason = "unrecognized-service", device }) {
        this.one(device).refusals.set(service, [kind, reason]);
    }

    accept({ service, device }) {
        this.one(device).refusals.delete(service);
    }

    delay({ seconds, device }) {
        this.one(device).delay = seconds;
    }

    silence({ on = true, device }) {
        this.one(device).silent = on;
    }

    subscriptions({ device }) {
        return [...this.one(device).items].flatMap(([object, item]) =>
            [...item.subscriptions.values()].map(({ sender, process, confirmed, lifetime }) => ({
                object, address: sender.address, process, confirmed, lifetime,
            })),
        );
    }

    drop_subscriptions({ device }) {
        for (const item of this.one(device).items.values()) {
            for (const { timer } of item.subscriptions.values()) clearTimeout(timer);
            item.subscriptions.clear();
        }
    }

    i_am({ address, device }) {
        this.one(device).iAm(address ? { address } : null);
    }
}

async function main() {
    let devices = null;
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const asked = JSON.parse(line);
        let answer;
        try {
            if (devices === null) {
                devices = new Devices(asked);
                answer = { ok: await devices.start() };
            } else {
                answer = { ok: (await devices[asked.do](asked)) ?? null };
            }
        } catch (error) {
            answer = { error: String(error.stack || error) };
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    }
    process.exit(0);
}

main();
