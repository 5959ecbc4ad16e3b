// node-opcua's OPC UA server as a process of its own, with the plant of `servers.opcua`. It is told what to be by
// the first line of its standard input, JSON, and what to do by the further ones; it ends with its input.
// Each line is answered by one on standard output: {"ok": ...} or {"error": ...}.
"use strict";

const readline = require("node:readline");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const { DataType, Variant, VariantArrayType } = require("node-opcua-variant");
const { DataValue } = require("node-opcua-data-value");
const { StatusCodes } = require("node-opcua-status-code");
const { coerceLocalizedText, coerceQualifiedName } = require("node-opcua-data-model");
const { resolveNodeId } = require("node-opcua-nodeid");
const { nodesets } = require("node-opcua-nodesets");
const { Range } = require("node-opcua-types");

const NAMESPACE = "urn:callboard:plant";
console.log = console.info = console.warn = console.error;  // standard output is for answers

class Plant {
    constructor(config) {
        this.config = config;
        this.interval = config.intervalMs;
        this.tick = 0;
        this.counters = [];
        this.alarms = {};
    }

    async start() {
        const config = this.config;
        const manager = async (name, trusted) => {
            const made = new OPCUACertificateManager({
                automaticallyAcceptUnknownCertificate: trusted === null,
                disableFileWatchers: true,
                rootFolder: `${config.directory}/${name}`,
            });
            await made.initialize();
            for (const der of trusted || []) await made.trustCertificate(Buffer.from(der, "base64"));
            return made;
        };
        const wanted = config.security.map(([policy]) => SecurityPolicy[policy]);
        const modes = config.security.map(([, mode]) => MessageSecurityMode[mode]);
        this.server = new OPCUAServer({
            port: config.port,
            host: config.address,
            hostname: config.advertisedHost || config.address,
            resourcePath: config.path,
            nodesets: [nodesets.standard, `${__dirname}/recipe.xml`],
            certificateFile: config.certificateFile,
            privateKeyFile: config.keyFile,
            serverCertificateManager: await manager("pki", config.trustedDer),
            userCertificateManager: await manager("users", config.userCertificatesDer),
            securityPolicies: [...new Set(wanted)],
            securityModes: [...new Set(modes)],
            allowAnonymous: config.anonymous,
            userManager: { isValidUser: (name, password) => config.users[name] === password && password !== undefined },
            defaultSecureTokenLifetime: config.tokenLifetimeMs || undefined,
            maxConnectionsPerEndpoint: 200,
            serverInfo: { applicationUri: config.applicationUri, applicationName: { text: "Plant" } },
            serverCapabilities: {
                maxSessions: 200,
                maxMonitoredItems: 1000000,
                maxMonitoredItemsPerSubscription: config.limits.maxMonitoredItemsPerSubscription || 100000,
                maxSubscriptionsPerSession: config.limits.maxSubscriptionsPerSession || 1000,
                maxSubscriptions: 10000,
                minSupportedSampleRate: 0,
                operationLimits: {
                    maxNodesPerRead: config.limits.maxNodesPerRead || 0,
                    maxNodesPerWrite: config.limits.maxNodesPerWrite || 0,
                    maxNodesPerBrowse: config.limits.maxNodesPerBrowse || 0,
                    maxMonitoredItemsPerCall: config.limits.maxMonitoredItemsPerCall || 0,
                },
            },
        });
        await this.server.initialize();
        if (config.maxSessionTimeoutMs) this._clampSessions(config.maxSessionTimeoutMs);
        this._build();
        await this.server.start();
        this._schedule();
    }

    _clampSessions(longest) {
        const engine = this.server.engine;
        const create = engine.createSession.bind(engine);
        engine.createSession = (options) =>
            create({ ...options, sessionTimeout: Math.min(options.sessionTimeout, longest) });
    }

    _build() {
        const space = this.server.engine.addressSpace;
        this.space = space;
        space.installAlarmsAndConditionsService();
        this.namespace = space.getNamespace(NAMESPACE);
        this.ns = this.namespace.index;
        this.plant = this.namespace.addFolder(space.rootFolder.objects, { browseName: "Plant", nodeId: "s=Plant" });
        const counters = this.namespace.addFolder(this.plant, { browseName: "Counters", nodeId: "s=Plant.Counters" });
        for (let number = 0; number < this.config.variables; number++) {
            const node = this.namespace.addVariable({
                organizedBy: counters,
                nodeId: `s=Counter.${number}`,
                browseName: `Counter${number}`,
                dataType: DataType.Double,
                minimumSamplingInterval: 0,
            });
            node.setValueFromSource(new Variant({ dataType: DataType.Double, value: number }));
            this.counters.push(node);
        }
        this.recipe = this.namespace.findDataType("Recipe");
        for (const entry of this.config.nodes) this.add(entry);
        const server = space.rootFolder.objects.server.nodeId;
        this.plant.addReference({ referenceType: "HasEventSource", isForward: false, nodeId: server });
    }

    add({ node, name, type, value, writable = true }) {
        const variant = this._variant(type, value);
        const data = { Range: "Range", Recipe: this.recipe }[type] || type;
        const added = this.namespace.addVariable({
            organizedBy: this.plant,
            nodeId: node.replace(/^ns=\d+;/, ""),
            browseName: name,
            dataType: data,
            valueRank: Array.isArray(value) ? (Array.isArray(value[0]) ? 2 : 1) : -1,
            arrayDimensions: Array.isArray(value) ? variant.dimensions || [0] : undefined,
            minimumSamplingInterval: 0,
            accessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
            userAccessLevel: writable ? "CurrentRead | CurrentWrite" : "CurrentRead",
        });
        added.setValueFromSource(variant);
    }

    _variant(type, value) {
        if (type === "Range") {
            const range = new Range({ low: value.Low, high: value.High });
            return new Variant({ dataType: DataType.ExtensionObject, value: range });
        }
        if (type === "Recipe") {
            const fields = { name: value.Name, temperature: value.Temperature, steps: new Uint16Array(value.Steps) };
            const made = this.space.constructExtensionObject(this.recipe, fields);
            return new Variant({ dataType: DataType.ExtensionObject, value: made });
        }
        const dataType = DataType[type];
        if (!Array.isArray(value)) return new Variant({ dataType, arrayType: VariantArrayType.Scalar, value: this._plain(type, value) });
        if (Array.isArray(value[0])) {
            const flat = value.flat().map((one) => this._plain(type, one));
            const dimensions = [value.length, value[0].length];
            return new Variant({ dataType, arrayType: VariantArrayType.Matrix, dimensions, value: flat });
        }
        const items = value.map((one) => this._plain(type, one));
        return new Variant({ dataType, arrayType: VariantArrayType.Array, value: items });
    }

    _plain(type, value) {
        if (value === null || value === undefined) return value;
        const make = {
            DateTime: (ms) => new Date(ms),
            Guid: (text) => text.toUpperCase(),
            ByteString: (hex) => Buffer.from(hex, "hex"),
            LocalizedText: (text) => coerceLocalizedText(text),
            QualifiedName: (text) => coerceQualifiedName({ name: text, namespaceIndex: this.ns }),
            NodeId: (text) => resolveNodeId(text),
            StatusCode: (name) => StatusCodes[name],
            Int64: (number) => wide(number),
            UInt64: (number) => wide(number),
        }[type];
        return make ? make(value) : value;
    }

    _schedule() {
        clearTimeout(this.timer);
        if (this.interval > 0) {
            const begun = Date.now();
            this.timer = setTimeout(() => this._due(begun + this.interval), this.interval);
        }
    }

    _due(due) {
        this.step();
        if (this.interval > 0) {
            this.timer = setTimeout(() => this._due(due + this.interval), Math.max(0, due + this.interval - Date.now()));
        }
    }

    // All counters one further, all at the same source time.
    step() {
        this.tick++;
        const now = new Date();
        this.counters.forEach((node, number) => {
            const variant = new Variant({ dataType: DataType.Double, value: this.tick + number });
            node.setValueFromSource(variant, StatusCodes.Good, now);
        });
        return this.tick;
    }

    _node(text) {
        const found = this.space.findNode(text);
        if (!found) throw new Error(`no node ${text}`);
        return found;
    }

    // What is asked

    write({ node, type, value, status = "Good", source_ms = null, no_source = false }) {
        const variant = type ? this._variant(type, value) : new Variant({});
        const stamp = no_source ? null : new Date(source_ms === null ? Date.now() : source_ms);
        const found = this._node(node);
        if (no_source) {
            found.setValueFromSource(variant, StatusCodes[status]);
            found.$dataValue.sourceTimestamp = null;
            found.emit("value_changed", found.$dataValue);
        } else {
            found.setValueFromSource(variant, StatusCodes[status], stamp);
        }
        return null;
    }

    read({ node }) {
        const value = this._node(node).readValue();
        return {
            type: DataType[value.value.dataType],
            value: told(value.value),
            status: value.statusCode.name,
        };
    }

    remove({ node }) {
        this.space.deleteNode(this._node(node).nodeId);
        return null;
    }

    rate({ interval_ms }) {
        this.interval = interval_ms;
        this._schedule();
        return null;
    }

    _subscriptions() {
        const sessions = Object.values(this.server.engine._sessions);
        return sessions.flatMap((session) => session.publishEngine.subscriptions.map((one) => [session, one]));
    }

    delete_subscriptions() {
        const found = this._subscriptions();
        for (const [session, subscription] of found) session.deleteSubscription(subscription.id);
        return found.length;
    }

    close_sessions() {
        const sessions = Object.values(this.server.engine._sessions);
        for (const session of sessions) {
            this.server.engine.closeSession(session.authenticationToken, true, "Terminated");
        }
        return sessions.length;
    }

    counts() {
        const found = this._subscriptions();
        return {
            sessions: this.server.engine.currentSessionCount,
            subscriptions: found.length,
            items: found.reduce((sum, [, one]) => sum + one.monitoredItemCount, 0),
            channels: this.server.endpoints.reduce((sum, one) => sum + one.currentChannelCount, 0),
        };
    }

    service_level({ level }) {
        this.server.engine.setServiceLevel?.(level);
        const node = this.space.findNode("i=2267");
        node.bindVariable?.({ get: () => new Variant({ dataType: DataType.Byte, value: level }) }, true);
        node.setValueFromSource(new Variant({ dataType: DataType.Byte, value: level }));
        return null;
    }

    // A condition changes: an event of the server's.
    alarm({ name, active, severity = 500, message = "", acked = false, retain = null }) {
        let condition = this.alarms[name];
        if (!condition) {
            condition = this.alarms[name] = this.namespace.instantiateAlarmCondition("AlarmConditionType", {
                browseName: name,
                nodeId: `s=Alarm.${name}`,
                componentOf: this.plant,
                conditionSource: this.plant,
                conditionName: name,
                inputNode: resolveNodeId("i=0"),
            });
        }
        condition.currentBranch().setMessage(message || `${name} ${active ? "on" : "off"}`);
        condition.currentBranch().setSeverity(severity);
        condition.currentBranch().setTime(new Date());
        condition.currentBranch().setActiveState(active);
        condition.currentBranch().setAckedState(acked);
        condition.currentBranch().setRetain(retain === null ? active || !acked : retain);
        condition.raiseConditionEvent(condition.currentBranch(), true);
        return null;
    }
}

function wide(number) {
    const big = BigInt.asUintN(64, BigInt(number));
    return [Number(big >> 32n), Number(big & 0xffffffffn)];
}

function told(variant) {
    const one = (value) => {
        if (Buffer.isBuffer(value)) return value.toString("hex");
        if (value instanceof Date) return value.getTime();
        if ([DataType.Int64, DataType.UInt64].includes(variant.dataType)) {
            const big = (BigInt(value[0]) << 32n) | BigInt(value[1]);
            return Number(variant.dataType === DataType.Int64 ? BigInt.asIntN(64, big) : big);
        }
        if (variant.dataType === DataType.Guid) return value.toLowerCase();
        if (variant.dataType === DataType.LocalizedText) return value.text;
        if (variant.dataType === DataType.QualifiedName) return value.name;
        if (variant.dataType === DataType.NodeId) return value.toString();
        if (variant.dataType === DataType.StatusCode) return value.name;
        if (ArrayBuffer.isView(value)) return Array.from(value);
        if (value && typeof value === "object") {
            const shown = JSON.parse(JSON.stringify(value, (_, part) => ArrayBuffer.isView(part) ? Array.from(part) : part));
            const upper = Object.entries(shown).map(([key, part]) => [key[0].toUpperCase() + key.slice(1), part]);
            return Object.fromEntries(upper);
        }
        return value;
    };
    if (variant.value === null || variant.value === undefined) return null;
    if (variant.arrayType === VariantArrayType.Scalar) return one(variant.value);
    const flat = Array.from(variant.value).map(one);
    if (variant.arrayType === VariantArrayType.Array) return flat;
    const [rows, columns] = variant.dimensions;
    return Array.from({ length: rows }, (_, row) => flat.slice(row * columns, (row + 1) * columns));
}

async function answer(work) {
    try {
        const found = await work();
        return { ok: found === undefined ? null : found };
    } catch (error) {
        return { error: String(error.stack || error) };
    }
}

async function main() {
    let plant = null;
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const asked = JSON.parse(line);
        let found;
        if (plant === null) {
            plant = new Plant(asked);
            found = await answer(() => plant.start());
        } else {
            found = await answer(() => plant[asked.do](asked));
        }
        process.stdout.write(JSON.stringify(found) + "\n");
    }
    clearTimeout(plant.timer);
    await plant.server.shutdown(0);
    process.exit(0);
}

main();
