package dev.slmexport.demo.model

import dev.slmexport.demo.tokenizer.Tokenizer
import java.io.File
import org.json.JSONObject

private const val SCHEMA = 1

/** A bundle as slm-export wrote it, in a folder of the device. All that the app knows of a model is in here. */
class Bundle(val folder: File) {
    val manifestFile = File(folder, "manifest.json")
    private val manifest = readManifest(manifestFile)
    val name: String = manifest.getString("name")
    val target: String = manifest.getString("target")
    val task: String = manifest.getString("task")
    val head: String? = manifest.text("head")
    val labels: List<String> = manifest.getJSONArray("labels").strings()
    val settings: JSONObject = manifest.getJSONObject("task_settings")
    val license: String? = manifest.getJSONObject("source").text("license")
    val artifacts: List<Artifact> = manifest.getJSONArray("artifacts").objects().map(::Artifact)
    val chat: Chat? = manifest.getJSONObject("tokenizer").optJSONObject("chat")?.let(::Chat)
    val golden: Golden by lazy { Golden(JSONObject(file(manifest.getString("golden")).readText())) }
    val tokenizer: Tokenizer by lazy { Tokenizer(JSONObject(tokenizerFile.readText())) }
    val tokenizerFile: File get() = file(manifest.getJSONObject("tokenizer").getJSONArray("files").getString(0))
    private val records by lazy {
        manifest.getJSONArray("files").objects().map(::fileRecord) + artifacts.flatMap { it.files }
    }

    /** A file that the manifest lists: several models of one bundle may share it, under its hash. */
    fun file(path: String): File {
        val own = File(folder, path)
        if (own.exists()) return own
        val sha256 = records.find { it.path == path }?.sha256 ?: return own
        return File(folder.parentFile, "shared/$sha256").takeIf { it.exists() } ?: own
    }

    /** What tokens that stand apart from the vocabulary look like. */
    fun addedTokens(ids: Set<Int>): Set<String> = JSONObject(tokenizerFile.readText()).getJSONArray("added_tokens").objects()
        .filter { it.getInt("id") in ids }.map { it.getString("content") }.toSet()

    /** Text of a file of the bundle, or null if it has none of that name. */
    fun text(path: String): String? = File(folder, path).takeIf { it.exists() }?.readText()

    override fun toString() = name
}

private fun readManifest(file: File): JSONObject {
    val json = JSONObject(file.readText())
    val schema = json.getInt("schema")
    require(schema == SCHEMA) { "The bundle in ${file.parent} has schema $schema; this app reads schema $SCHEMA." }
    return json
}

/** Every bundle below a folder, those of a bundle of several models one by one, by name. */
fun bundlesIn(folder: File): List<Bundle> = folder.listFiles().orEmpty().sorted().flatMap { child ->
    val manifest = File(child, "manifest.json")
    when {
        !manifest.exists() -> emptyList()
        JSONObject(manifest.readText()).has("models") -> bundlesIn(child)
        else -> listOf(Bundle(child))
    }
}
